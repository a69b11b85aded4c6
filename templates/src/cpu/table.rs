//! The table of CPU kernel families.
