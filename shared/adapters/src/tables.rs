//! The tables: their keys, indexes and time to live.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::operation::describe_table::DescribeTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, GlobalSecondaryIndexDescription, IndexStatus,
    KeySchemaElement, KeyType, Projection, ProjectionType, ScalarAttributeType, TableDescription, TableStatus,
    TimeToLiveSpecification, TimeToLiveStatus,
};
use kernel::ports::{Cause, Slot};
use tokio::time::{Instant, sleep};

/// The attribute with the key of every item.
pub const KEY_ATTRIBUTE: &str = "pk";
/// The attribute with the time after which DynamoDB may delete an item, in seconds since 1970.
pub const EXPIRES_AT_ATTRIBUTE: &str = "expires_at";

/// The time limit until a new table is usable.
const ACTIVE_WAIT_MAX: Duration = Duration::from_secs(120);
/// The pause between two checks of a new table.
const ACTIVE_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The names of the three tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableNames {
    /// States and unique keys.
    pub write: String,
    /// Records of commands.
    pub commands: String,
    /// Views.
    pub read: String,
}

/// The reason why the tables are not ready.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// A table of that name has other keys or indexes. It belongs to another application, or needs a migration.
    #[error("table {table} exists, but {difference}")]
    Mismatch {
        /// The table.
        table: String,
        /// The difference, as a text for people.
        difference: String,
    },
    /// A table was created, but did not become usable in time.
    #[error("table {table} is not active after {} s", ACTIVE_WAIT_MAX.as_secs())]
    NotActive {
        /// The table.
        table: String,
    },
    /// DynamoDB refused the request, or did not answer.
    #[error("cannot prepare table {table}")]
    Refused {
        /// The table.
        table: String,
        /// The error from DynamoDB.
        #[source]
        cause: Cause,
    },
}

/// Returns the name of an index. DynamoDB requires at least three characters.
#[must_use]
pub fn index_name(slot: Slot) -> String {
    format!("by-{}", slot.name())
}

/// Returns the attribute with the partition key of an index.
#[must_use]
pub fn index_partition_attribute(slot: Slot) -> String {
    format!("{}_p", slot.name())
}

/// Returns the attribute with the sort key of an index.
#[must_use]
pub fn index_sort_attribute(slot: Slot) -> String {
    format!("{}_s", slot.name())
}

/// Creates missing tables, and waits until all tables are usable.
pub async fn create_all(client: &Client, names: &TableNames) -> Result<(), TableError> {
    let tables = [(&names.write, &Slot::ALL[..]), (&names.commands, &[]), (&names.read, &Slot::ALL)];
    let tables = tables.map(|(name, slots)| Table { client, name, slots });
    for table in &tables {
        table.create_if_absent().await?;
    }
    for table in &tables {
        table.wait_until_active().await?;
        table.enable_time_to_live().await?;
    }
    Ok(())
}

/// Creates the table of a read store if it is missing, and waits until it is usable.
pub async fn create(client: &Client, name: &str) -> Result<(), TableError> {
    let table = Table { client, name, slots: &Slot::ALL };
    table.create_if_absent().await?;
    table.wait_until_active().await?;
    table.enable_time_to_live().await
}

struct Table<'a> {
    client: &'a Client,
    name: &'a str,
    slots: &'a [Slot],
}

impl Table<'_> {
    async fn create_if_absent(&self) -> Result<(), TableError> {
        if self.describe().await?.is_some() {
            return Ok(());
        }
        let created = self
            .client
            .create_table()
            .table_name(self.name)
            .billing_mode(BillingMode::PayPerRequest)
            .set_attribute_definitions(Some(self.attributes().map_err(|error| self.refused(error))?))
            .key_schema(key(KEY_ATTRIBUTE, KeyType::Hash).map_err(|error| self.refused(error))?)
            .set_global_secondary_indexes(self.global_indexes().map_err(|error| self.refused(error))?)
            .send()
            .await;
        match created.map_err(aws_sdk_dynamodb::error::SdkError::into_service_error) {
            // Another process has created the table meanwhile.
            Ok(_) | Err(CreateTableError::ResourceInUseException(_)) => Ok(()),
            Err(error) => Err(self.refused(error)),
        }
    }

    async fn wait_until_active(&self) -> Result<(), TableError> {
        let deadline = Instant::now() + ACTIVE_WAIT_MAX;
        while Instant::now() < deadline {
            if let Some(description) = self.describe().await? {
                self.check(&description)?;
                if is_active(&description) {
                    return Ok(());
                }
            }
            sleep(ACTIVE_POLL_INTERVAL).await;
        }
        Err(TableError::NotActive { table: self.name.to_owned() })
    }

    async fn enable_time_to_live(&self) -> Result<(), TableError> {
        let found = self.client.describe_time_to_live().table_name(self.name).send().await;
        let found = found.map_err(|error| self.refused(error))?.time_to_live_description;
        let (status, attribute) =
            found.map(|found| (found.time_to_live_status, found.attribute_name)).unwrap_or_default();
        if matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
            if attribute.as_deref() == Some(EXPIRES_AT_ATTRIBUTE) {
                return Ok(());
            }
            return Err(self.mismatch(format!("its time to live is in {attribute:?}, not {EXPIRES_AT_ATTRIBUTE}")));
        }
        let specification =
            TimeToLiveSpecification::builder().enabled(true).attribute_name(EXPIRES_AT_ATTRIBUTE).build();
        let specification = specification.map_err(|error| self.refused(error))?;
        let update = self.client.update_time_to_live().table_name(self.name).time_to_live_specification(specification);
        update.send().await.map_err(|error| self.refused(error))?;
        Ok(())
    }

    async fn describe(&self) -> Result<Option<TableDescription>, TableError> {
        match self.client.describe_table().table_name(self.name).send().await {
            Ok(found) => Ok(found.table),
            Err(error) if error.as_service_error().is_some_and(DescribeTableError::is_resource_not_found_exception) => {
                Ok(None)
            }
            Err(error) => Err(self.refused(error)),
        }
    }

    fn check(&self, found: &TableDescription) -> Result<(), TableError> {
        let keys = keys_of(found.key_schema());
        if keys != [(KEY_ATTRIBUTE.to_owned(), KeyType::Hash)] {
            return Err(self.mismatch(format!("its key is {keys:?}")));
        }
        let indexes = found.global_secondary_indexes();
        for slot in self.slots {
            let name = index_name(*slot);
            let Some(index) = indexes.iter().find(|index| index.index_name() == Some(&name)) else {
                return Err(self.mismatch(lacks(*slot, indexes)));
            };
            let keys = keys_of(index.key_schema());
            let wanted =
                [(index_partition_attribute(*slot), KeyType::Hash), (index_sort_attribute(*slot), KeyType::Range)];
            if keys != wanted {
                return Err(self.mismatch(format!("the key of its index {name} is {keys:?}")));
            }
        }
        Ok(())
    }

    fn attributes(&self) -> Result<Vec<AttributeDefinition>, BuildError> {
        let of_indexes =
            self.slots.iter().flat_map(|slot| [index_partition_attribute(*slot), index_sort_attribute(*slot)]);
        let names = std::iter::once(KEY_ATTRIBUTE.to_owned()).chain(of_indexes);
        let text =
            |name| AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build();
        names.map(text).collect()
    }

    /// Returns the definitions of the indexes; `None` instead of an empty list, which DynamoDB refuses.
    fn global_indexes(&self) -> Result<Option<Vec<GlobalSecondaryIndex>>, BuildError> {
        let indexes = self.slots.iter().map(|slot| {
            GlobalSecondaryIndex::builder()
                .index_name(index_name(*slot))
                .key_schema(key(&index_partition_attribute(*slot), KeyType::Hash)?)
                .key_schema(key(&index_sort_attribute(*slot), KeyType::Range)?)
                .projection(Projection::builder().projection_type(ProjectionType::All).build())
                .build()
        });
        let indexes: Vec<_> = indexes.collect::<Result<_, _>>()?;
        Ok(Some(indexes).filter(|indexes| !indexes.is_empty()))
    }

    fn mismatch(&self, difference: String) -> TableError {
        TableError::Mismatch { table: self.name.to_owned(), difference }
    }

    fn refused(&self, cause: impl Into<Cause>) -> TableError {
        TableError::Refused { table: self.name.to_owned(), cause: cause.into() }
    }
}

fn key(attribute: &str, key_type: KeyType) -> Result<KeySchemaElement, BuildError> {
    KeySchemaElement::builder().attribute_name(attribute).key_type(key_type).build()
}

/// Describes why a table lacks an index. Tables of version 0.1 had one index for each list, named after the list.
fn lacks(slot: Slot, indexes: &[GlobalSecondaryIndexDescription]) -> String {
    let names: Vec<_> = indexes.iter().filter_map(GlobalSecondaryIndexDescription::index_name).collect();
    let is_slot = |name: &str| Slot::ALL.into_iter().any(|slot| index_name(slot) == name);
    match names.iter().any(|name| name.starts_with("by-") && !is_slot(name)) {
        true => format!("its indexes are those of version 0.1: {}. CHANGELOG.md has the next steps", names.join(", ")),
        false => format!("it lacks the index {}", index_name(slot)),
    }
}

fn keys_of(schema: &[KeySchemaElement]) -> Vec<(String, KeyType)> {
    schema.iter().map(|element| (element.attribute_name.clone(), element.key_type.clone())).collect()
}

fn is_active(found: &TableDescription) -> bool {
    let mut indexes = found.global_secondary_indexes().iter();
    found.table_status() == Some(&TableStatus::Active)
        && indexes.all(|index| index.index_status().is_none_or(|status| *status == IndexStatus::Active))
}
