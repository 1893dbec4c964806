//! Errors with their causes, for logs.

use std::error::Error;
use std::fmt;

use serde_json::error::Category;

/// An error with all its causes: `write store is unavailable: throttled: …`. The log formatter prints only the first error.
#[derive(Debug, Clone, Copy)]
pub struct ErrorChain<'a>(pub &'a dyn Error);

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            match error.downcast_ref() {
                Some(error) => unquoted(error, f)?,
                None => write!(f, ": {error}")?,
            }
            cause = error.source();
        }
        Ok(())
    }
}

/// Writes the kind and the position of a JSON error. The library's own text quotes the input, and logs hold no personal data.
fn unquoted(error: &serde_json::Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let kind = match error.classify() {
        Category::Io => "input",
        Category::Syntax => "syntax",
        Category::Data => "data",
        Category::Eof => "end",
    };
    write!(f, ": JSON, wrong {kind} at line {}, column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::domain::DecodeError;
    use crate::ports::PortError;

    #[test]
    fn an_error_is_shown_with_all_its_causes() {
        let error = PortError::Unavailable { port: "write store", cause: io::Error::other("throttled").into() };
        assert_eq!(ErrorChain(&error).to_string(), "write store is unavailable: throttled");
    }

    #[test]
    fn an_error_does_not_quote_the_data_that_was_read() {
        let error = DecodeError::from(serde_json::from_str::<u64>("\"Ada\"").unwrap_err());
        assert_eq!(ErrorChain(&error).to_string(), "malformed: JSON, wrong data at line 1, column 5");
    }
}
