//! The catalog as a document.
