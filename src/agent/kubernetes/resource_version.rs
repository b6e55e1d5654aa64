//! The order of resourceVersions.

/// Returns the number in a resourceVersion, or `None` if it has no order.
///
/// The resourceVersions of one resource are decimal numbers that grow with each change, so that a smaller one is of an
/// earlier state. Those of two resources can't be compared. etcd's revisions fit into 63 bits.
/// Source: "Comparable Resource Version", KEP-5504 of Kubernetes.
pub(in crate::agent) fn parse(version: &str) -> Option<u64> {
    // `str::parse` takes a sign and leading zeros, which a resourceVersion does not have.
    let is_decimal = version.starts_with(|first: char| matches!(first, '1'..='9'));
    version.parse().ok().filter(|_| is_decimal)
}

/// Returns whether `version` is of an earlier state than `other`. One that has no order is not.
pub(in crate::agent) fn is_earlier(version: &str, other: &str) -> bool {
    matches!((parse(version), parse(other)), (Some(version), Some(other)) if version < other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_as_numbers() {
        assert!(is_earlier("9", "10") && !is_earlier("10", "9") && !is_earlier("10", "10"));
    }

    #[test]
    fn what_is_no_number_is_never_earlier() {
        for other in ["", "0", "-1", "+1", "01", "1a", "a1", "99999999999999999999", "1.0"] {
            assert_eq!(parse(other), None, "{other:?}");
            assert!(!is_earlier(other, "5") && !is_earlier("5", other), "{other:?}");
        }
    }
}
