//! The catalog as the relay's allow-list.
