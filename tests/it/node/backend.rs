//! The backend on a real node: its secrets, its volume, its backups, and what ends its pod.

mod backups;
mod crashes;
mod fleet;
mod full_volume;
mod gitops;
mod hooks;
mod postgres;
mod root;
mod secrets;
