//! The deletion of the agent's state in the cluster, at the request of an operator.

use anyhow::{Context, anyhow};

use super::journal::JournalStore;
use super::journal::config_map::JournalReadError;
use super::kubernetes;

/// Deletes the state in `namespace`, or else in the namespace of the cluster's configuration. Returns a text for the
/// operator, with the UUID of the installation that it belonged to.
pub async fn run(namespace: Option<String>) -> anyhow::Result<String> {
    let client = kubernetes::connect(None).await?;
    let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let store = JournalStore { client, namespace, owner: None };
    let installation = match store.read().await {
        Ok(view) => view.map(|view| (view.state.installation, view.is_copy)),
        // A corrupt journal can still be deleted.
        Err(JournalReadError::CorruptJournal(_)) => None,
        Err(JournalReadError::Failed(error)) => {
            return Err(anyhow!("{error}")).context("the agent's state can't be read");
        }
    };
    let of_installation = installation.map(|(uuid, _)| format!(" of the installation {uuid}")).unwrap_or_default();
    let erased = store.erase().await.map_err(|error| anyhow!("{error}"));
    // The answer of a deletion that succeeded can be lost. The error names the identity, so that it is not lost with the
    // state.
    let was_there = erased.with_context(|| format!("the state{of_installation} may not be deleted: run this again"))?;
    let namespace = &store.namespace;
    Ok(match (was_there, installation) {
        (false, _) => format!("There was no state of an agent in the namespace {namespace:?}.\n"),
        (true, None) => {
            format!("The state in the namespace {namespace:?} is deleted; no UUID could be read from it.\n")
        }
        (true, Some((uuid, true))) => format!(
            "The state in the namespace {namespace:?} is deleted. It was a copy, and nothing was sent from it. Its \
             original is of the installation\n\n    {uuid}\n\nwhich may still report from another cluster or \
             namespace: have nothing erased under this UUID unless you mean that one.\n"
        ),
        (true, Some((uuid, false))) => format!(
            "The state in the namespace {namespace:?} is deleted. The installation's UUID was\n\n    {uuid}\n\n\
             What was sent under it can be erased by whoever runs the backend: give them this UUID, which nothing in \
             this cluster remembers from here on. An agent that is on starts over at once, with a new UUID.\n"
        ),
    })
}
