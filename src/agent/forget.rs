//! Deletes what the agent keeps in the cluster, on an operator's word.

use anyhow::{Context, anyhow};

use super::journal::JournalStore;
use super::journal::config_map::JournalReadError;
use super::kubernetes;

/// Deletes the state in `namespace`, or else in that of the cluster's configuration, and says what it was and what to
/// do with it.
pub async fn run(namespace: Option<String>) -> anyhow::Result<String> {
    let client = kubernetes::connect(None).await?;
    let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let place = JournalStore { client, namespace, owner: None };
    let installation = match place.read().await {
        Ok(account) => account.map(|account| account.state.installation),
        // What can't be read can be deleted all the same.
        Err(JournalReadError::CorruptJournal(_)) => None,
        Err(JournalReadError::Failed(failure)) => {
            return Err(anyhow!("{failure}")).context("the agent's state can't be read");
        }
    };
    let was = installation.map(|uuid| format!(" of the installation {uuid}")).unwrap_or_default();
    let erased = place.erase().await.map_err(|failure| anyhow!("{failure}"));
    // An answer can be lost after the deletion: the identity is not lost with it.
    let was_there = erased.with_context(|| format!("the state{was} may not be deleted: run this again"))?;
    let namespace = &place.namespace;
    Ok(match (was_there, installation) {
        (false, _) => format!("There was no state of an agent in the namespace {namespace:?}.\n"),
        (true, None) => {
            format!("The state in the namespace {namespace:?} is deleted; no UUID could be read from it.\n")
        }
        (true, Some(uuid)) => format!(
            "The state in the namespace {namespace:?} is deleted. The installation's UUID was\n\n    {uuid}\n\n\
             What was sent under it can be erased by whoever runs the backend: give them this UUID, which nothing in \
             this cluster remembers from here on. An agent that is on begins anew, with another one.\n"
        ),
    })
}
