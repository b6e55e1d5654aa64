//! Lists of installations, and erasures of rows that match a filter.

use super::{open, open_to_change, plural, record, table};
use crate::backend::insights::{InstallationList, ListedInstallation};
use crate::backend::store::{ERASE, EventFilter, InstallationFilter, MatchedRows, StoreLocation};

/// The format of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ListFormat {
    /// Columns for people.
    Table,
    /// One JSON object with the number of all, and those that are listed.
    Json,
}

/// Lists installations that match, at most `limit`. The backend may serve the store meanwhile.
pub async fn list_installations(
    store: StoreLocation,
    filter: InstallationFilter,
    limit: usize,
    format: ListFormat,
) -> anyhow::Result<String> {
    let store = open(store).await?.rows;
    let found = store.installations(filter, limit).await?;
    let list = InstallationList::new(found, &store.pseudonym_key().await?);
    if format == ListFormat::Json {
        return Ok(serde_json::to_string(&list)? + "\n");
    }
    let InstallationList { matching, installations } = list;
    let headings = ["ID", "SOURCE", "FIRST SEEN", "LAST SEEN", "CONFIRMED", "BULK", "TCPS", "KAMAJI", "KUBERNETES"];
    let rows = std::iter::once(headings.map(str::to_owned)).chain(installations.iter().map(row)).collect::<Vec<_>>();
    let shown = plural(installations.len() as u64, "installation");
    Ok(format!("{}{shown} of {matching} that match.\n", table(&rows)))
}

fn row(listed: &ListedInstallation) -> [String; 9] {
    let hour = |time: jiff::Timestamp| time.strftime("%Y-%m-%dT%H:%MZ").to_string();
    [
        listed.id.clone(),
        listed.source.clone(),
        hour(listed.first_seen),
        hour(listed.last_seen),
        listed.confirmed.map_or_else(|| "no".to_owned(), hour),
        if listed.bulk { "yes" } else { "no" }.to_owned(),
        listed.control_planes.to_string(),
        listed.kamaji_version.clone(),
        listed.kubernetes_version.clone(),
    ]
}

/// Erases the installations that match, or counts them if `dry_run` is set. The backend may serve the store meanwhile.
///
/// The erasure is added to the audit log before. Fails if the filter has no condition.
pub async fn erase_installations(
    store: StoreLocation,
    filter: InstallationFilter,
    dry_run: bool,
) -> anyhow::Result<String> {
    check_condition(&filter)?;
    if dry_run {
        let matching = open(store).await?.rows.installations(filter, 0).await?.matching;
        return Ok(format!("{} would be erased.\n", plural(matching, "installation")));
    }
    let store = open_to_change(store).await?;
    record(&store, ERASE).await?;
    let MatchedRows { installations, days, events: _ } = store.rows.erase_installations(filter).await?;
    let (installations, days) = (plural(installations, "installation"), plural(days, "day"));
    Ok(format!(
        "Erased {installations} and {days}. What they send from now on is stored again, and backups still hold what they held.\n"
    ))
}

/// Erases the events that match, or counts them if `dry_run` is set. The backend may serve the store meanwhile.
///
/// The erasure is added to the audit log before. Fails if the filter has no condition.
pub async fn erase_events(store: StoreLocation, filter: EventFilter, dry_run: bool) -> anyhow::Result<String> {
    check_condition(&filter)?;
    if dry_run {
        let matching = open(store).await?.rows.count_events(filter).await?.events;
        return Ok(format!("{} would be erased.\n", plural(matching, "event")));
    }
    let store = open_to_change(store).await?;
    record(&store, ERASE).await?;
    let MatchedRows { events, .. } = store.rows.erase_events(filter).await?;
    Ok(format!("Erased {}. Backups still hold what they held.\n", plural(events, "event")))
}

fn check_condition<F: Default + PartialEq>(filter: &F) -> anyhow::Result<()> {
    anyhow::ensure!(*filter != F::default(), "no filter is given: expected at least one, such as --bulk=true");
    Ok(())
}
