//! The writing of changes of rollups: each sum is added to the stored one, and a sum over no rows is deleted.

use rusqlite::{Connection, Params, params};

use super::columns::{dimension_word, event_source, source, standing};
use super::words::{WordId, Words};
use crate::backend::store::fold::{
    Component, DayKey, DimensionKey, EventDayKey, EventHourKey, FirstSeenKey, LatestKey, RollupChanges, StateSums,
    Version,
};

/// Adds `changes` to the stored sums.
pub(super) fn write(connection: &Connection, words: &mut Words, changes: &RollupChanges) -> rusqlite::Result<()> {
    let RollupChanges { latest, dimensions, days, first_seen, event_hours, event_days } = changes;
    for (key, sums) in latest {
        write_latest(connection, words, *key, *sums)?;
    }
    for (DimensionKey { source: kind, hour, dimension }, sums) in dimensions {
        let key = (source(*kind), hour.number(), words.id(connection, &dimension_word(dimension))?);
        add(connection, ADD_DIMENSION, params![key.0, key.1, key.2, sums.points, sums.count])?;
        if sums.points < 0 {
            add(connection, DELETE_DIMENSION, params![key.0, key.1, key.2])?;
        }
    }
    for (key, sums) in days {
        write_day(connection, words, *key, *sums)?;
    }
    for (FirstSeenKey { source: kind, day, bulk }, installations) in first_seen {
        let key = (source(*kind), day.number(), bulk);
        add(connection, ADD_FIRST_SEEN, params![key.0, key.1, key.2, installations])?;
        if *installations < 0 {
            add(connection, DELETE_FIRST_SEEN, params![key.0, key.1, key.2])?;
        }
    }
    for (EventHourKey { source: kind, hour, kind: name, bulk }, events) in event_hours {
        let key = (event_source(*kind, *bulk), hour.number(), words.id(connection, name)?);
        add(connection, ADD_EVENT_HOUR, params![key.0, key.1, key.2, events])?;
        if *events < 0 {
            add(connection, DELETE_EVENT_HOUR, params![key.0, key.1, key.2])?;
        }
    }
    for (key, events) in event_days {
        write_event_day(connection, words, *key, *events)?;
    }
    Ok(())
}

const ADD_LATEST: &str = "
    INSERT INTO latest_rollup VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
    ON CONFLICT DO UPDATE SET
        installations = installations + excluded.installations,
        running = running + excluded.running, sleeping = sleeping + excluded.sleeping,
        not_ready = not_ready + excluded.not_ready, upgrading = upgrading + excluded.upgrading,
        left_out = left_out + excluded.left_out";

const DELETE_LATEST: &str = "
    DELETE FROM latest_rollup
    WHERE source = ?1 AND standing = ?2 AND hour = ?3 AND kamaji = ?4 AND kubernetes = ?5 AND installations = 0";

const ADD_DIMENSION: &str = "
    INSERT INTO dimension_rollup VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT DO UPDATE SET points = points + excluded.points, count = count + excluded.count";

const DELETE_DIMENSION: &str =
    "DELETE FROM dimension_rollup WHERE source = ?1 AND hour = ?2 AND dimension = ?3 AND points = 0";

const ADD_DAY: &str = "
    INSERT INTO day_rollup VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
    ON CONFLICT DO UPDATE SET
        installations = installations + excluded.installations,
        running = running + excluded.running, sleeping = sleeping + excluded.sleeping,
        not_ready = not_ready + excluded.not_ready, upgrading = upgrading + excluded.upgrading,
        left_out = left_out + excluded.left_out";

const DELETE_DAY: &str = "
    DELETE FROM day_rollup
    WHERE source = ?1 AND component = ?2 AND day = ?3 AND version = ?4 AND installations = 0";

const ADD_FIRST_SEEN: &str = "
    INSERT INTO first_seen_rollup VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO UPDATE SET installations = installations + excluded.installations";

const DELETE_FIRST_SEEN: &str =
    "DELETE FROM first_seen_rollup WHERE source = ?1 AND day = ?2 AND bulk = ?3 AND installations = 0";

const ADD_EVENT_HOUR: &str = "
    INSERT INTO event_hour_rollup VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO UPDATE SET events = events + excluded.events";

const DELETE_EVENT_HOUR: &str =
    "DELETE FROM event_hour_rollup WHERE source = ?1 AND hour = ?2 AND kind = ?3 AND events = 0";

const ADD_EVENT_DAY: &str = "
    INSERT INTO event_day_rollup VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT DO UPDATE SET events = events + excluded.events";

const DELETE_EVENT_DAY: &str = "
    DELETE FROM event_day_rollup
    WHERE source = ?1 AND day = ?2 AND kind = ?3 AND kamaji = ?4 AND tcp_version = ?5 AND events = 0";

fn add(connection: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute(params)?;
    Ok(())
}

fn write_latest(connection: &Connection, words: &mut Words, key: LatestKey, sums: StateSums) -> rusqlite::Result<()> {
    let LatestKey { source: kind, standing: of_row, hour, kamaji, kubernetes } = key;
    let StateSums { installations, running, sleeping, not_ready, upgrading, left_out } = sums;
    let (kind, standing, hour) = (source(kind), standing(of_row), hour.number());
    let kamaji = words.id(connection, &kamaji.to_string())?;
    let kubernetes = words.id(connection, &kubernetes.to_string())?;
    let row = params![
        kind,
        standing,
        hour,
        kamaji,
        kubernetes,
        installations,
        running,
        sleeping,
        not_ready,
        upgrading,
        left_out
    ];
    add(connection, ADD_LATEST, row)?;
    if installations < 0 {
        add(connection, DELETE_LATEST, params![kind, standing, hour, kamaji, kubernetes])?;
    }
    Ok(())
}

fn write_day(connection: &Connection, words: &mut Words, key: DayKey, sums: StateSums) -> rusqlite::Result<()> {
    let DayKey { source: kind, day, component } = key;
    let StateSums { installations, running, sleeping, not_ready, upgrading, left_out } = sums;
    let (kind, day) = (source(kind), day.number());
    let (component, version) = component_columns(connection, words, component)?;
    let row = params![kind, component, day, version, installations, running, sleeping, not_ready, upgrading, left_out];
    add(connection, ADD_DAY, row)?;
    if installations < 0 {
        add(connection, DELETE_DAY, params![kind, component, day, version])?;
    }
    Ok(())
}

fn component_columns(
    connection: &Connection,
    words: &mut Words,
    component: Component,
) -> rusqlite::Result<(i64, WordId)> {
    Ok(match component {
        Component::All => (0, 0),
        Component::Version(Version::Kamaji(version)) => (1, words.id(connection, &version.to_string())?),
        Component::Version(Version::Kubernetes(version)) => (2, words.id(connection, &version.to_string())?),
    })
}

fn write_event_day(connection: &Connection, words: &mut Words, key: EventDayKey, events: i64) -> rusqlite::Result<()> {
    let EventDayKey { source: kind, day, kind: name, kamaji, tcp_version } = key;
    let (kind, day) = (source(kind), day.number());
    let name = words.id(connection, name)?;
    let kamaji = words.id(connection, &kamaji.to_string())?;
    let tcp_version = words.id(connection, &tcp_version.to_string())?;
    add(connection, ADD_EVENT_DAY, params![kind, day, name, kamaji, tcp_version, events])?;
    if events < 0 {
        add(connection, DELETE_EVENT_DAY, params![kind, day, name, kamaji, tcp_version])?;
    }
    Ok(())
}
