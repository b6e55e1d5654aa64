//! The node's own needs.

use std::process::Command;

#[test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
fn a_node_without_root_says_what_it_lacks() {
    let test = "node::start::an_event_goes_from_a_pod_through_dns_and_the_relay_into_the_store_of_another";
    let program = std::env::current_exe().unwrap();
    // In a user namespace without a mapping it has no rights but those of everybody.
    let output = Command::new("unshare").arg("--user").arg(program).args(["--exact", test, "--nocapture"]).output();
    let output = output.expect("`unshare` is there");
    let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(!output.status.success(), "{printed}");
    assert!(printed.contains("need root: run `make test` as root"), "{printed}");
}
