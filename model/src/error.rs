//! What can go wrong, with the culprit named.

/// An error of loading or running a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read or written.
    #[error("{file}")]
    Io {
        /// Path as given.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is damaged, or not of this kind.
    #[error("{file}: {part}: expected {expected}, got {got}")]
    Format {
        /// Path or name as given.
        file: String,
        /// The tensor, metadata key or header field.
        part: String,
        /// What would have been right.
        expected: String,
        /// What is there.
        got: String,
    },
    /// The tokenizer could not be rebuilt, or a text could not be encoded.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The chat template could not be rendered.
    #[error("chat template: {0}")]
    Chat(String),
    /// What a predictor may refuse, or a kernel that this CPU lacks.
    #[error(transparent)]
    Exact(#[from] weir_exact::Error),
    /// The self-check gave other logits than the specification's digest.
    #[error("self-check of kernel {kernel}: logits digest {got}, specification {expected}")]
    SelfCheck {
        /// Kernel that ran.
        kernel: &'static str,
        /// Digest in `vectors/logits.json`.
        expected: String,
        /// Digest here.
        got: String,
    },
}

impl Error {
    pub(crate) fn format(
        file: &str,
        part: impl Into<String>,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Self {
        Self::Format {
            file: file.into(),
            part: part.into(),
            expected: expected.into(),
            got: got.into(),
        }
    }
}
