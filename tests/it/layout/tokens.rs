//! Rust's tokens, as far as paths need them: names, `::` and single characters, without comments and literals.

/// Returns the tokens of the code that is not compiled for tests only.
pub(super) fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (token, length) = next(rest, first);
        tokens.extend(token.map(str::to_owned));
        rest = &rest[length..];
    }
    tokens
}

/// Splits tokens into those that every build has and the modules that only tests declare.
pub(super) fn without_tests(tokens: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut kept, mut test_modules) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        if is_test_attribute(&tokens[at..]) {
            let end = at + item_length(&tokens[at..]);
            test_modules.extend(declared_modules(&tokens[at..end]));
            at = end;
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    (kept, test_modules)
}

/// The token that `text` begins with, if it is none to leave out, and the bytes to go on behind.
fn next(text: &str, first: char) -> (Option<&str>, usize) {
    if first.is_whitespace() {
        return (None, first.len_utf8());
    }
    if text.starts_with("//") {
        return (None, text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return (None, block_comment(text));
    }
    if let Some(length) = string(text) {
        return (None, length);
    }
    if first == '\'' {
        return (None, character_or_quote(text));
    }
    if first.is_alphanumeric() || first == '_' {
        let length = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        return (Some(&text[..length]), length);
    }
    let length = if text.starts_with("::") { 2 } else { first.len_utf8() };
    (Some(&text[..length]), length)
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of the string that `text` begins with: plain, raw, of bytes or for C.
fn string(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c", ""]
        .into_iter()
        .find(|prefix| text.strip_prefix(prefix).is_some_and(|rest| rest.trim_start_matches('#').starts_with('"')))?;
    let rest = &text[prefix.len()..];
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let open = prefix.len() + hashes + 1;
    if prefix.ends_with('r') {
        let close = format!("\"{}", "#".repeat(hashes));
        return Some(open + text[open..].find(&close).map_or(text.len() - open, |end| end + close.len()));
    }
    if hashes > 0 {
        return None;
    }
    let mut escaped = false;
    let end = text[open..].find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    Some(open + end.map_or(text.len() - open, |end| end + 1))
}

/// The length of a character, or of the quote alone where it begins a lifetime.
fn character_or_quote(text: &str) -> usize {
    if text.starts_with("'\\") {
        return text[3..].find('\'').map_or(text.len(), |end| end + 4);
    }
    let mut inner = text[1..].chars();
    match (inner.next(), inner.next()) {
        (Some(character), Some('\'')) => 2 + character.len_utf8(),
        _ => 1,
    }
}

/// `#[cfg(test)]` or `#[cfg(all(test, …))]`; an item that another build has too is none of the tests'.
fn is_test_attribute(tokens: &[String]) -> bool {
    let starts_with =
        |pattern: &[&str]| tokens.len() >= pattern.len() && tokens.iter().zip(pattern).all(|(a, b)| a == b);
    starts_with(&["#", "[", "cfg", "(", "test", ")"]) || starts_with(&["#", "[", "cfg", "(", "all", "(", "test"])
}

/// The tokens of an item, its attributes included: to its semicolon, or to the end of its block.
fn item_length(tokens: &[String]) -> usize {
    let is_use = item(tokens).iter().find(|token| *token != "pub").is_some_and(|token| token == "use");
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 && (token == ";" || (token == "}" && !is_use)) {
            return at + 1;
        }
    }
    tokens.len()
}

/// An item without its attributes.
fn item(mut tokens: &[String]) -> &[String] {
    while tokens.first().is_some_and(|token| token == "#") {
        let mut depth = 0_usize;
        let end = tokens.iter().skip(1).position(|token| {
            depth = if token == "[" {
                depth + 1
            } else if token == "]" {
                depth - 1
            } else {
                depth
            };
            depth == 0
        });
        tokens = &tokens[end.map_or(tokens.len(), |end| end + 2)..];
    }
    tokens
}

/// The modules that an item declares in a file of their own.
fn declared_modules(tokens: &[String]) -> Vec<String> {
    let of_file = tokens.windows(3).filter(|window| window[0] == "mod" && window[2] == ";");
    of_file.map(|window| window[1].clone()).collect()
}
