//! The size of an installation, as a class.

/// A class of sizes, by the number of control planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SizeClass {
    /// No control plane.
    None,
    /// One.
    One,
    /// 2 to 5.
    UpTo5,
    /// 6 to 20.
    UpTo20,
    /// 21 to 100.
    UpTo100,
    /// 101 to 1,000.
    UpTo1000,
    /// More than 1,000.
    Larger,
}

impl SizeClass {
    /// All classes, smallest first.
    pub const ALL: [Self; 7] =
        [Self::None, Self::One, Self::UpTo5, Self::UpTo20, Self::UpTo100, Self::UpTo1000, Self::Larger];

    /// Returns the class of an installation with this number of control planes.
    pub const fn of(control_planes: u64) -> Self {
        match control_planes {
            0 => Self::None,
            1 => Self::One,
            2..=5 => Self::UpTo5,
            6..=20 => Self::UpTo20,
            21..=100 => Self::UpTo100,
            101..=1_000 => Self::UpTo1000,
            _ => Self::Larger,
        }
    }

    /// Returns the sizes of the class, such as `2–5`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::None => "0",
            Self::One => "1",
            Self::UpTo5 => "2–5",
            Self::UpTo20 => "6–20",
            Self::UpTo100 => "21–100",
            Self::UpTo1000 => "101–1,000",
            Self::Larger => "more than 1,000",
        }
    }
}
