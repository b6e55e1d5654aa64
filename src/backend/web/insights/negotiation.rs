//! The format of an answer: by a parameter, or by what a client accepts.

use http::HeaderMap;
use http::header::ACCEPT;

use crate::backend::insights::parameters::{ParameterError, QuestionName};
use crate::backend::insights::render::AnswerFormat;

/// The parameter of the format.
pub(super) const FORMAT: &str = "format";

/// Returns the formats of the answer to a question, the default first.
pub(super) const fn formats(question: QuestionName) -> &'static [AnswerFormat] {
    match question {
        QuestionName::TestMatrix => &[AnswerFormat::Json, AnswerFormat::Csv, AnswerFormat::Github],
        _ => &[AnswerFormat::Json, AnswerFormat::Csv],
    }
}

/// Returns the word of a format in the parameter.
pub(super) const fn word(format: AnswerFormat) -> &'static str {
    match format {
        AnswerFormat::Json => "json",
        AnswerFormat::Csv => "csv",
        AnswerFormat::Github => "github",
        AnswerFormat::Table => "table",
    }
}

/// Returns the media type of a format.
pub(super) const fn media_type(format: AnswerFormat) -> &'static str {
    match format {
        AnswerFormat::Json | AnswerFormat::Github => "application/json",
        AnswerFormat::Csv => "text/csv; charset=utf-8; header=present",
        AnswerFormat::Table => "text/plain; charset=utf-8",
    }
}

/// Parses the parameter; returns `None` without it.
pub(super) fn parse_format(
    question: QuestionName,
    pairs: &[(String, String)],
) -> Result<Option<AnswerFormat>, ParameterError> {
    let mut given = pairs.iter().filter(|(name, _)| name == FORMAT).map(|(_, value)| value);
    let Some(value) = given.next() else { return Ok(None) };
    if let Some(again) = given.next() {
        return Err(ParameterError::new(FORMAT, again, "format once"));
    }
    let known = formats(question).iter().copied().find(|format| word(*format) == value);
    let expected =
        if formats(question).contains(&AnswerFormat::Github) { "json, csv or github" } else { "json or csv" };
    known.map(Some).ok_or_else(|| ParameterError::new(FORMAT, value, expected))
}

/// Returns the format that a client accepts most (RFC 9110, section 12.5.1), of JSON and CSV. It is JSON without a
/// header, where both are accepted alike, and where none is: a client that can't take it sees what there is.
pub(super) fn accepted(headers: &HeaderMap, formats: &[AnswerFormat]) -> AnswerFormat {
    let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let ranges: Vec<_> = lines.flat_map(|line| line.split(',')).filter_map(parse_range).collect();
    let mut best = (AnswerFormat::Json, 0);
    // JSON comes first, and the matrix is JSON as well: it is asked for by the parameter alone.
    for format in formats.iter().copied().filter(|format| *format != AnswerFormat::Github) {
        let quality = quality(&ranges, media_type(format));
        if quality > best.1 {
            best = (format, quality);
        }
    }
    best.0
}

/// Returns the quality of a media type, in thousandths: that of the most specific range that has it.
fn quality(ranges: &[(String, u16)], media_type: &str) -> u16 {
    let essence = media_type.split(';').next().unwrap_or_default();
    let kind = essence.split('/').next().unwrap_or_default();
    let of = |range: &str| ranges.iter().find(|(known, _)| known == range).map(|(_, quality)| *quality);
    of(essence).or_else(|| of(&format!("{kind}/*"))).or_else(|| of("*/*")).unwrap_or(0)
}

/// Parses a media range and its quality, which is 1 without one. Other parameters are ignored.
fn parse_range(text: &str) -> Option<(String, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().filter(|range| range.contains('/'))?.to_ascii_lowercase();
    let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    let quality = quality.map_or(Some(1_000), parse_quality)?;
    Some((range, quality))
}

/// Parses a quality from 0 to 1, with three decimals at most, in thousandths.
fn parse_quality(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_number = decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    let whole: u16 = whole.parse().ok().filter(|whole| *whole <= 1)?;
    let thousandths: u16 = format!("{decimals:0<3}").parse().ok().filter(|_| is_number)?;
    Some(whole * 1_000 + thousandths).filter(|quality| *quality <= 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_accepted_format_wins_and_json_where_none_does() {
        let accepted = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            super::accepted(&headers, formats(QuestionName::TestMatrix))
        };
        for json in [
            "*/*",
            "application/json",
            "application/json, text/csv",
            "text/csv;q=0.5, application/json;q=0.51",
            "text/*;q=0.9, application/*",
            "text/html",
            "text/csv;q=0",
            "text/csv;q=2",
            "text/csv;q=0.1234",
            "nonsense, ;;,",
            "",
        ] {
            assert_eq!(accepted(json), AnswerFormat::Json, "{json}");
        }
        for csv in [
            "text/csv",
            "TEXT/CSV; charset=utf-8",
            "text/*",
            "application/json;q=0.9, text/csv",
            "*/*;q=0.1, text/csv;q=0.2",
            "application/json;q=0, */*",
        ] {
            assert_eq!(accepted(csv), AnswerFormat::Csv, "{csv}");
        }
        assert_eq!(super::accepted(&HeaderMap::new(), formats(QuestionName::Health)), AnswerFormat::Json);
    }

    #[test]
    fn a_format_is_one_of_the_questions_and_given_once() {
        let parse = |question, given: &[&str]| {
            let pairs: Vec<_> = given.iter().map(|value| (FORMAT.to_owned(), (*value).to_owned())).collect();
            parse_format(question, &pairs).map_err(|error| error.expected)
        };
        assert_eq!(parse(QuestionName::Health, &[]), Ok(None));
        assert_eq!(parse(QuestionName::Health, &["csv"]), Ok(Some(AnswerFormat::Csv)));
        assert_eq!(parse(QuestionName::TestMatrix, &["github"]), Ok(Some(AnswerFormat::Github)));
        assert_eq!(parse(QuestionName::Health, &["github"]), Err("json or csv".into()));
        assert_eq!(parse(QuestionName::TestMatrix, &["table"]), Err("json, csv or github".into()));
        assert_eq!(parse(QuestionName::Health, &["csv", "csv"]), Err("format once".into()));
    }
}
