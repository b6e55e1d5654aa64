//! A connection: how it is opened and secured, its prepared statements, and its commits.

use std::collections::HashMap;
use std::fs::File;
use std::future::poll_fn;
use std::io::BufReader;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::NoTls;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use super::address::PostgresAddress;
use super::durability::{self, Durability, NotDurable};
use super::password::{self, PasswordError};
use super::words::WordCache;
use crate::backend::store::encoding::CorruptColumn;

/// An error of a statement or a connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostgresError {
    /// The server refused a statement, or the connection ended.
    #[error("{}", describe(.0))]
    Server(#[from] tokio_postgres::Error),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error("the certificate authorities for the database cannot be used: {0}")]
    Authorities(String),
    #[error(transparent)]
    NotDurable(#[from] NotDurable),
    /// A commit that the server did not make durable everywhere, such as one that was cancelled while it waited for a standby.
    #[error("the server reported a commit with a warning: {0}")]
    CommitWarning(String),
    #[error(transparent)]
    Corrupt(#[from] CorruptColumn),
    /// Another transaction was faster; the same works when it is tried again.
    #[error("another backend wrote at the same time, again and again")]
    Raced,
    #[error("{0}")]
    Other(String),
}

/// Returns the message of the server, or the causes of an error of the connection.
fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        return format!("PostgreSQL: {} (SQLSTATE {})", error.message(), error.code().code());
    }
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(format!("PostgreSQL: {error}"), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

impl PostgresError {
    /// Returns whether the transaction works when it is tried again: it lost against another one, or a statement is outdated.
    pub(super) fn is_transient(&self) -> bool {
        let lost = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::LOCK_NOT_AVAILABLE];
        matches!(self, Self::Raced) || self.is_of_statement() || self.code().is_some_and(|code| lost.contains(code))
    }

    /// Returns whether a statement was prepared before a migration of a newer backend added a column to what it selects.
    fn is_of_statement(&self) -> bool {
        self.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED)
    }

    /// Returns whether the server's certificate cannot be verified, which no further attempt changes.
    pub(super) fn is_of_certificate(&self) -> bool {
        let Self::Server(error) = self else { return false };
        let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
        causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>()).any(|error| {
            // The source of an error of I/O is that of the error in it.
            let of_tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
            matches!(of_tls, Some(rustls::Error::InvalidCertificate(_)))
        })
    }

    /// Returns the code of the server's refusal.
    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Server(error) => error.code(),
            _ => None,
        }
    }
}

/// A warning that the server sent since it was taken last.
type Warning = Arc<Mutex<Option<String>>>;

/// The parts of a store that its connections have in common.
pub(super) struct Connector {
    pub(super) address: PostgresAddress,
    words: Arc<WordCache>,
}

impl Connector {
    pub(super) fn new(address: PostgresAddress) -> Self {
        Self { address, words: Arc::default() }
    }

    /// Opens a connection.
    pub(super) async fn connect(&self) -> Result<PostgresConnection, PostgresError> {
        PostgresConnection::open(&self.address, Arc::clone(&self.words)).await
    }
}

/// An open connection.
pub(super) struct PostgresConnection {
    client: Client,
    words: Arc<WordCache>,
    warning: Warning,
    statements: HashMap<String, Statement>,
    /// The server's settings of durability at the moment of the connection.
    pub(super) durability: Durability,
}

impl PostgresConnection {
    /// Connects to the first server of an address that writes. Fails if what it commits may be lost.
    async fn open(address: &PostgresAddress, words: Arc<WordCache>) -> Result<Self, PostgresError> {
        let (client, warning) = connect(address, TargetSessionAttrs::ReadWrite).await?;
        let durability = durability::read(&client).await?;
        durability.check(address.require_standby)?;
        Ok(Self { client, words, warning, statements: HashMap::new(), durability })
    }

    /// Returns whether the connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Returns the words that all connections of the store know.
    pub(super) fn words(&self) -> &WordCache {
        &self.words
    }

    /// Returns the client, for statements without parameters.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the client for a migration.
    pub(super) fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Prepares a statement, once.
    pub(super) async fn prepare(&mut self, sql: &str) -> Result<Statement, PostgresError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Returns the rows of a query.
    pub(super) async fn query(
        &mut self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, PostgresError> {
        let statement = self.prepare(sql).await?;
        Ok(self.client.query(&statement, parameters).await?)
    }

    /// Returns the one row of a query, or none.
    pub(super) async fn query_opt(
        &mut self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, PostgresError> {
        let statement = self.prepare(sql).await?;
        Ok(self.client.query_opt(&statement, parameters).await?)
    }

    /// Returns the one row of a query.
    pub(super) async fn query_one(
        &mut self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, PostgresError> {
        let statement = self.prepare(sql).await?;
        Ok(self.client.query_one(&statement, parameters).await?)
    }

    /// Runs a statement, and returns the number of rows that it changed.
    pub(super) async fn execute(
        &mut self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, PostgresError> {
        let statement = self.prepare(sql).await?;
        Ok(self.client.execute(&statement, parameters).await?)
    }

    /// Begins a transaction.
    pub(super) async fn begin(&self) -> Result<(), PostgresError> {
        Ok(self.client.batch_execute("BEGIN").await?)
    }

    /// Begins a transaction that reads one state of the database, in which each statement ends after `seconds`.
    pub(super) async fn begin_read(&self, seconds: u64) -> Result<(), PostgresError> {
        let begin = format!(
            "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL statement_timeout = '{seconds}s'"
        );
        Ok(self.client.batch_execute(&begin).await?)
    }

    /// Commits the transaction. Fails if the server sends any warning with it: a commit that was cancelled while it waited for a
    /// standby is reported as a success with a warning.
    pub(super) async fn commit(&self) -> Result<(), PostgresError> {
        self.take_warning();
        self.client.batch_execute("COMMIT").await?;
        match self.take_warning() {
            Some(warning) => Err(PostgresError::CommitWarning(warning)),
            None => Ok(()),
        }
    }

    /// Rolls the transaction back, if there is one.
    pub(super) async fn rollback(&self) -> Result<(), PostgresError> {
        Ok(self.client.batch_execute("ROLLBACK").await?)
    }

    /// Rolls back the transaction that failed with `error`, so that it can be tried again. Returns false if the connection can't
    /// be used any more. The reason is logged: an error of the rollback would hide the one before it.
    pub(super) async fn rollback_after(&mut self, error: &PostgresError) -> bool {
        if error.is_of_statement() {
            self.statements.clear();
        }
        let rolled_back = self.rollback().await;
        if let Err(error) = &rolled_back {
            tracing::debug!(%error, "failed to roll a transaction back; closing its connection");
        }
        rolled_back.is_ok()
    }

    fn take_warning(&self) -> Option<String> {
        self.warning.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Connects to the first server of an address that is of a kind.
pub(super) async fn connect(
    address: &PostgresAddress,
    kind: TargetSessionAttrs,
) -> Result<(Client, Warning), PostgresError> {
    let mut config = address.config();
    config.target_session_attrs(kind);
    if let Some(password) = password::read(address)? {
        config.password(password);
    }
    Ok(if address.has_tls() {
        let tls = MakeRustlsConnect::new(tls_config(address.ca_file.as_deref())?);
        let (client, connection) = config.connect(tls).await?;
        (client, drive(connection))
    } else {
        let (client, connection) = config.connect(NoTls).await?;
        (client, drive(connection))
    })
}

/// Drives a connection until it ends. Records warnings, each before the answer of its statement is delivered.
fn drive<S, T>(mut connection: tokio_postgres::Connection<S, T>) -> Warning
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let warning = Warning::default();
    let received = Arc::clone(&warning);
    tokio::spawn(async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            match message {
                Ok(AsyncMessage::Notice(notice))
                    if notice.severity() == "WARNING" || notice.code().code().starts_with("01") =>
                {
                    *received.lock().unwrap_or_else(PoisonError::into_inner) = Some(notice.message().to_owned());
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(error = describe(&error), "a connection to PostgreSQL has ended");
                    return;
                }
            }
        }
    });
    warning
}

/// Reads the authorities from a file, or the system's.
fn tls_config(ca_file: Option<&Path>) -> Result<ClientConfig, PostgresError> {
    let mut roots = RootCertStore::empty();
    let of_file = |path: &Path, error: String| {
        PostgresError::Authorities(format!("{}: {error}; expected certificates as PEM", path.display()))
    };
    match ca_file {
        Some(path) => {
            let file = File::open(path).map_err(|error| of_file(path, error.to_string()))?;
            for certificate in CertificateDer::pem_reader_iter(BufReader::new(file)) {
                let certificate = certificate.map_err(|error| of_file(path, error.to_string()))?;
                roots.add(certificate).map_err(|error| of_file(path, error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(of_file(path, "it holds no certificate".to_owned()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| PostgresError::Authorities(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
