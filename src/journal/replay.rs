//! What a resume finds.
