//! Shell completions, as the program prints them.

use std::process::Command;

use crate::program::PROGRAM;

/// Returns the completions of `shell`, which the program prints.
fn script(shell: &str) -> String {
    let output = Command::new(PROGRAM).args(["completion", shell]).env_clear().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Returns what bash offers for the last of `words`.
fn completions(words: &str) -> Vec<String> {
    let script = format!(
        "source <(\"$0\" completion bash)\n\
         registered=$(complete -p kamaji-telemetry)\n\
         [[ $registered =~ -F\\ ([^ ]+) ]]\n\
         COMP_WORDS=(kamaji-telemetry {words})\n\
         COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
         \"${{BASH_REMATCH[1]}}\" kamaji-telemetry \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    );
    let output = Command::new("bash").args(["--norc", "-euo", "pipefail", "-c", &script, PROGRAM]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_flags_and_values() {
    assert_eq!(completions("ag"), ["agent"]);
    assert_eq!(completions("backend tok"), ["token"]);
    assert_eq!(completions("backend serve --retention-e"), ["--retention-events"]);
    assert_eq!(completions("catalog --output c"), ["collector"]);
}

#[test]
fn every_shell_gets_the_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let completions = script(shell);
        for command in ["agent", "preview", "disable-telemetry"] {
            assert!(completions.contains(command), "{shell}: {command}");
        }
    }
}
