//! The commands in the examples are ones that the program takes.

use clap::Parser;
use kamaji_telemetry::cli::Cli;

use super::{documents, prose};

/// Returns the commands of this program in a text: of shell examples, continued lines joined, and of code spans.
fn commands(text: &str) -> Vec<String> {
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    let blocks = blocks.map(|block| block.replace("\\\n", " "));
    let lines: Vec<_> =
        blocks.flat_map(|block| block.lines().map(|line| line.trim_start().to_owned()).collect::<Vec<_>>()).collect();
    // A code span may be broken by the wrapping of its paragraph.
    let joined = prose(text).collect::<Vec<_>>().join(" ");
    let spans = joined.split('`').skip(1).step_by(2).map(str::to_owned).filter(|span| span.contains(' '));
    let own = lines.into_iter().chain(spans).filter_map(|line| {
        let start = line.match_indices("kamaji-telemetry ").map(|(start, _)| start);
        // Beginning a line, or behind `kubectl exec … --` and variables, rather than a name of something.
        let mut start =
            start.filter(|&start| start == 0 || line[..start].ends_with("-- ") || line.starts_with("KUBECONFIG="));
        start.next().map(|start| line[start..].to_owned())
    });
    own.collect()
}

/// Returns the words of a command, up to a comment or what the shell does with its output.
fn words(command: &str) -> Vec<String> {
    let ends = ["#", "|", ">", "&&", ")"];
    let words = command.split_whitespace().take_while(|word| !ends.contains(word));
    words.map(|word| word.trim_matches('"').to_owned()).collect()
}

#[test]
fn every_command_in_the_documents_is_taken() {
    let (mut count, mut refused) = (0, Vec::new());
    for path in documents() {
        let text = std::fs::read_to_string(&path).unwrap();
        for command in commands(&text) {
            let words = words(&command);
            // The name of a command without what it needs is prose.
            let is_prose = words.len() <= 4 && !words.iter().any(|word| word.starts_with("--"));
            count += 1;
            match Cli::try_parse_from(&words) {
                Err(error) if !is_prose => refused.push(format!("{}: {command}: {error}", path.display())),
                _ => {}
            }
        }
    }
    assert!(refused.is_empty(), "{refused:#?}");
    assert!(count > 30, "{count} commands were found");
}
