//! The address of a database, and the files of its password and its certificate authorities.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

/// The time in which a server has to accept a connection: half of what a sender waits for an answer, so that the next server
/// is tried within it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The idle time after which a connection is probed, and the interval of three probes: a server that is gone is noticed within
/// 11 s although nothing is sent, as while a commit waits for it.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_RETRIES: u32 = 3;

/// The time after which a connection ends whose data nobody acknowledges, as long as the probes take.
const USER_TIMEOUT: Duration = Duration::from_secs(11);

/// The name by which an administrator of the database sees the connections.
pub(super) const APPLICATION_NAME: &str = "kamaji-telemetry";

/// The name of the connection of a move, which serves nobody.
const MOVE_NAME: &str = "kamaji-telemetry migrate";

/// An address of PostgreSQL: servers, user and database, and how the connection is secured.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresAddress {
    config: Config,
    tls: bool,
    /// The file with the password; `None` if there is none, or if `PGPASSFILE` names a file.
    pub password_file: Option<PathBuf>,
    /// The PEM file of the authorities that sign the server's certificate; `None` for the system's.
    pub ca_file: Option<PathBuf>,
    /// True if only a server with a synchronous standby may be used.
    pub require_standby: bool,
}

/// A text that is not a [`PostgresAddress`]. It is not repeated, since it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}; expected postgres://USER@HOST[:PORT][,HOST[:PORT]]/DATABASE[?sslmode=verify-full|disable], with the password in \
     a file that a flag, such as --store-password-file, or PGPASSFILE names"
)]
pub struct InvalidAddress(String);

impl FromStr for PostgresAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = |problem: &str| InvalidAddress(format!("the address of PostgreSQL cannot be used: {problem}"));
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        let (mut tls, mut parameters) = (true, Vec::new());
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", "verify-full")) => tls = true,
                Some(("sslmode", "disable")) => tls = false,
                Some(("sslmode", _)) => return Err(invalid("sslmode is neither verify-full nor disable")),
                // Every connection is to a server that writes.
                Some(("target_session_attrs", "read-write")) => {}
                Some(("host" | "port", _)) => parameters.push(parameter),
                _ => return Err(invalid("it has a parameter other than sslmode, target_session_attrs, host and port")),
            }
        }
        let mut config: Config =
            format!("{base}?{}", parameters.join("&")).parse().map_err(|_| invalid("it is no URL of a database"))?;
        if config.get_password().is_some() {
            return Err(invalid("it holds a password, which other users could read in the list of processes"));
        }
        if config.get_hosts().is_empty() || config.get_user().is_none() || config.get_dbname().is_none() {
            return Err(invalid("a host, the user or the database is missing"));
        }
        config
            .ssl_mode(if tls { SslMode::Require } else { SslMode::Disable })
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .application_name(APPLICATION_NAME)
            .connect_timeout(CONNECT_TIMEOUT)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES)
            .tcp_user_timeout(USER_TIMEOUT);
        Ok(Self { config, tls, password_file: None, ca_file: None, require_standby: false })
    }
}

impl PostgresAddress {
    /// Returns the configuration of a connection, without a password.
    pub(super) fn config(&self) -> Config {
        self.config.clone()
    }

    /// Returns the address for the connection of a move.
    pub(super) fn of_move(&self) -> Self {
        let mut address = self.clone();
        address.config.application_name(MOVE_NAME);
        address
    }

    /// Returns whether connections are encrypted, and the server proves its name.
    pub(super) const fn has_tls(&self) -> bool {
        self.tls
    }

    /// Returns the servers with their ports, as the file of `PGPASSFILE` names them.
    pub(super) fn servers(&self) -> Vec<(String, u16)> {
        const DEFAULT_PORT: u16 = 5_432;
        let ports = self.config.get_ports();
        let port = |position| ports.get(position).or(ports.first()).copied().unwrap_or(DEFAULT_PORT);
        let host = |host: &Host| match host {
            Host::Tcp(name) => name.clone(),
            // As libpq does: a socket is of this machine.
            Host::Unix(_) => "localhost".to_owned(),
        };
        self.config.get_hosts().iter().enumerate().map(|(position, name)| (host(name), port(position))).collect()
    }
}

impl fmt::Display for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<_> = self.servers().iter().map(|(host, port)| format!("{host}:{port}")).collect();
        write!(f, "postgres://{}/{}", servers.join(","), self.config.get_dbname().unwrap_or_default())
    }
}

impl fmt::Debug for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresAddress({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<PostgresAddress>().unwrap_err().to_string()
    }

    #[test]
    fn an_address_names_servers_user_and_database() {
        let address: PostgresAddress =
            "postgres://kt@a.example,b.example:6432/telemetry?target_session_attrs=read-write&sslmode=verify-full"
                .parse()
                .unwrap();
        assert_eq!(address.to_string(), "postgres://a.example:5432,b.example:6432/telemetry");
        assert!(address.has_tls());
        let address: PostgresAddress = "postgres://kt@127.0.0.1:5433/t?sslmode=disable".parse().unwrap();
        assert!(!address.has_tls());
        assert_eq!(address.config().get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
    }

    #[test]
    fn what_cannot_be_used_is_named_and_no_password_is_repeated() {
        for (text, problem) in [
            ("postgres://kt:hunter2@a/t", "holds a password"),
            ("postgres://kt:hunter2@a:x/t", "no URL"),
            ("postgres://kt@a/t?password=hunter2", "a parameter other than"),
            ("postgres://kt@a/t?sslmode=hunter2", "neither verify-full nor disable"),
            ("postgres://a/t", "is missing"),
            ("postgres://kt@a", "is missing"),
            ("postgres://kt@/t", "is missing"),
            ("postgres:hunter2", "no URL"),
        ] {
            let error = error(text);
            assert!(error.contains(problem) && error.contains("expected postgres://"), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
