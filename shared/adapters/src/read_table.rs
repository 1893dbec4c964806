//! The names of read tables, which contain the version of a projection.

use std::str::FromStr;

use kernel::projection::Projection;

/// A table of views. Its name ends with the version of the projection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadTable {
    /// The whole name, for example `my-views-v2`.
    pub name: String,
    /// The projection at the end of the name.
    pub projection: Projection,
}

impl ReadTable {
    /// Returns the table of another projection: the same name with the other version.
    #[must_use]
    pub fn of(&self, projection: Projection) -> Self {
        let stem = self.name.strip_suffix(&self.projection.to_string()).unwrap_or(&self.name);
        Self { name: format!("{stem}{projection}"), projection }
    }
}

/// The error for a name that does not end with the version of a projection.
#[derive(Debug, thiserror::Error)]
#[error("must end in -v1, -v2 and so on: the version of the projection that the table holds")]
pub struct ReadTableError;

impl FromStr for ReadTable {
    type Err = ReadTableError;

    fn from_str(name: &str) -> Result<Self, ReadTableError> {
        let version =
            name.rsplit_once("-v").and_then(|(_, version)| version.parse().ok()).filter(|version| *version > 0);
        let projection = Projection(version.ok_or(ReadTableError)?);
        match name.ends_with(&format!("-{projection}")) {
            true => Ok(Self { name: name.to_owned(), projection }),
            false => Err(ReadTableError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_read_table_contains_its_projection() {
        let table: ReadTable = "my-views-v2".parse().unwrap();
        assert_eq!(table.projection, Projection(2));
        assert_eq!(table.of(Projection(13)), "my-views-v13".parse().unwrap());
        for wrong in ["", "views", "views-v", "views-v0", "views-v01", "views-v+1", "views-v65536", "views_v1", "v1"] {
            assert!(wrong.parse::<ReadTable>().is_err(), "{wrong}");
        }
    }
}
