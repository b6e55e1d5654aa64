//! The values of the metrics' labels.

/// The protocol of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend) enum Transport {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP.
    Http,
    /// The JSON of Kamaji's built-in telemetry.
    Kamaji,
}

/// A limit that a request can exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend) enum LimitKind {
    /// Requests of a client.
    Requests,
    /// Points and records of a client.
    Items,
    /// Bytes that a client writes into the store in a day.
    BytesPerDay,
    /// Gauge snapshots of an installation.
    Snapshots,
    /// Bytes of bodies in memory.
    BodyBytes,
    /// The time that a request may take.
    Deadline,
}

/// A file of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend) enum TokenFile {
    /// The tokens of readers.
    Reader,
    /// The tokens of senders.
    Ingest,
}

/// The reason for which a connection is closed: unread, except for [`ConnectionRejection::Refusals`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend) enum ConnectionRejection {
    /// There are as many connections as there may be.
    All,
    /// The client has as many connections as it may have.
    Client,
    /// The client opened too many in a short time, or sent too much.
    Rate,
    /// The TLS handshake failed, or took too long.
    Tls,
    /// Too many requests in a row were refused.
    Refusals,
}

/// The period of the metrics of what is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend) enum IntakePeriod {
    /// The UTC day so far.
    Today,
    /// The median of the days before.
    Median,
}

impl IntakePeriod {
    pub(super) const ALL: [Self; 2] = [Self::Today, Self::Median];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Today => "today",
            Self::Median => "median",
        }
    }
}

impl LimitKind {
    pub(super) const ALL: [Self; 6] =
        [Self::Requests, Self::Items, Self::BytesPerDay, Self::Snapshots, Self::BodyBytes, Self::Deadline];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Items => "items",
            Self::BytesPerDay => "bytes_per_day",
            Self::Snapshots => "snapshots",
            Self::BodyBytes => "body_bytes",
            Self::Deadline => "deadline",
        }
    }
}

impl ConnectionRejection {
    pub(super) const ALL: [Self; 5] = [Self::All, Self::Client, Self::Rate, Self::Tls, Self::Refusals];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Client => "client",
            Self::Rate => "rate",
            Self::Tls => "tls",
            Self::Refusals => "refusals",
        }
    }
}

impl TokenFile {
    pub(super) const ALL: [Self; 2] = [Self::Reader, Self::Ingest];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Ingest => "ingest",
        }
    }
}

impl Transport {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
            Self::Kamaji => "kamaji",
        }
    }
}
