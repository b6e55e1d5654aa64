//! An error and its causes.

use std::error::Error;
use std::io;

/// Returns an error and its causes, outermost first.
pub(super) fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| cause(error))
}

fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        // The source of an I/O error is that of the error inside it, which would be left out.
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// Joins an error and its causes with colons. A cause whose text its parent already contains is left out.
pub(super) fn text(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in causes(error).map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_inside_an_io_error_is_a_cause() {
        let inner = rustls::Error::DecryptError;
        let error = anyhow::Error::new(io::Error::other(inner)).context("outer");
        let error: &(dyn Error + 'static) = error.as_ref();
        assert!(causes(error).any(<dyn Error>::is::<rustls::Error>));
        assert_eq!(text(error), format!("outer: {}", rustls::Error::DecryptError));
    }
}
