//! What is deployed, and can be deployed anew while everything runs: new environments start with it, those that are at
//! work finish what they do and end, as after an update of a function's configuration.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use adapters::read_table::{ReadTable, ReadTableError};
use serde::{Deserialize, Serialize};

use crate::environments::Pool;

/// The file in the data directory.
const FILE_NAME: &str = "deployment.json";

/// What can be changed while everything runs, named as the functions' variables are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
pub struct Deployment {
    /// The read store that readers see.
    pub read_table: String,
    /// Another one that is written as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_read_table: Option<String>,
}

/// A deployment makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum DeploymentError {
    /// Not what it should be.
    #[error("a deployment is an object of READ_TABLE and, if wanted, OTHER_READ_TABLE: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A table's name does not tell its projection.
    #[error("{0} {1}")]
    Name(&'static str, ReadTableError),
    /// The other read store is the same.
    #[error("OTHER_READ_TABLE must be another table than READ_TABLE")]
    Same,
    /// It cannot be kept.
    #[error("the deployment cannot be kept: {0}")]
    NotKept(#[from] io::Error),
}

impl Deployment {
    fn parse(json: &[u8]) -> Result<Self, DeploymentError> {
        let deployment: Self = serde_json::from_slice(json)?;
        let check = |name, table: &str| table.parse::<ReadTable>().map_err(|error| DeploymentError::Name(name, error));
        check("READ_TABLE", &deployment.read_table)?;
        if let Some(other) = &deployment.other_read_table {
            check("OTHER_READ_TABLE", other)?;
        }
        match deployment.other_read_table.as_ref() == Some(&deployment.read_table) {
            true => Err(DeploymentError::Same),
            false => Ok(deployment),
        }
    }

    /// What was deployed last in a data directory, if anything.
    pub(crate) fn load(data_dir: &Path) -> Result<Option<Self>, DeploymentError> {
        match std::fs::read(data_dir.join(FILE_NAME)) {
            Ok(json) => Self::parse(&json).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Written aside and renamed, so that a crash leaves the one or the other.
    fn keep(&self, data_dir: &Path) -> Result<(), DeploymentError> {
        let partial = data_dir.join(format!("{FILE_NAME}.new"));
        let mut file = File::create(&partial)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        Ok(std::fs::rename(&partial, data_dir.join(FILE_NAME))?)
    }

    fn variables(&self) -> impl Iterator<Item = (String, String)> {
        let other = self.other_read_table.clone().map(|table| ("OTHER_READ_TABLE".to_owned(), table));
        std::iter::once(("READ_TABLE".to_owned(), self.read_table.clone())).chain(other)
    }
}

/// The functions, and what they are deployed with.
#[derive(Debug)]
pub struct Deployments {
    pools: Vec<Pool>,
    /// What does not change.
    fixed: Vec<(String, String)>,
    current: Mutex<Deployment>,
    /// Where it is kept, if it is.
    data_dir: Option<PathBuf>,
}

impl Deployments {
    /// Deploys to `pools`, for the first time.
    pub(crate) fn new(
        pools: Vec<Pool>,
        fixed: Vec<(String, String)>,
        first: Deployment,
        data_dir: Option<&Path>,
    ) -> Self {
        let deployments = Self { pools, fixed, current: Mutex::new(first), data_dir: data_dir.map(Path::to_owned) };
        deployments.hand_out(&deployments.lock());
        deployments
    }

    /// The functions.
    #[must_use]
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// Deploys what a document says, if it is not deployed already. Returns at once: [`Deployments::draining`] tells when it is done.
    pub fn deploy(&self, json: &[u8]) -> Result<(), DeploymentError> {
        let next = Deployment::parse(json)?;
        let mut current = self.lock();
        if *current == next {
            return Ok(());
        }
        if let Some(dir) = &self.data_dir {
            next.keep(dir)?;
        }
        *current = next;
        self.hand_out(&current);
        Ok(())
    }

    /// Environments of earlier deployments that are still at work.
    #[must_use]
    pub fn draining(&self) -> usize {
        self.pools.iter().map(Pool::draining).sum()
    }

    /// All variables that the functions find, secrets included.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        self.with_fixed(&self.lock())
    }

    fn with_fixed(&self, deployment: &Deployment) -> Vec<(String, String)> {
        self.fixed.iter().cloned().chain(deployment.variables()).collect()
    }

    fn hand_out(&self, deployment: &Deployment) {
        for pool in &self.pools {
            pool.deploy(self.with_fixed(deployment));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Deployment> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_outlives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Deployment::load(dir.path()).unwrap(), None);
        let deployment = Deployment { read_table: "r-v2".to_owned(), other_read_table: Some("r-v1".to_owned()) };
        deployment.keep(dir.path()).unwrap();
        assert_eq!(Deployment::load(dir.path()).unwrap(), Some(deployment));
    }

    #[test]
    fn what_makes_no_sense_is_not_deployed() {
        let deployments = Deployments::new(
            Vec::new(),
            Vec::new(),
            Deployment { read_table: "r-v1".to_owned(), other_read_table: None },
            None,
        );
        for wrong in [
            "",
            "{}",
            r#"{"READ_TABLE":"r"}"#,
            r#"{"READ_TABLE":"r-v1","STAGE":"cqrs"}"#,
            r#"{"READ_TABLE":"r-v1","OTHER_READ_TABLE":"x"}"#,
            r#"{"READ_TABLE":"r-v1","OTHER_READ_TABLE":"r-v1"}"#,
        ] {
            deployments.deploy(wrong.as_bytes()).unwrap_err();
        }
        assert_eq!(deployments.variables(), [("READ_TABLE".to_owned(), "r-v1".to_owned())]);
    }
}
