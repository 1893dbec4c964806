//! Tables are created once, and tables of other applications stay unchanged.

use adapters::tables::{TableError, create_all};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TimeToLiveStatus,
};

use super::{database, names};

async fn create(client: &Client, name: &str, key: &str) {
    let definition = AttributeDefinition::builder().attribute_name(key).attribute_type(ScalarAttributeType::S);
    client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(definition.build().unwrap())
        .key_schema(KeySchemaElement::builder().attribute_name(key).key_type(KeyType::Hash).build().unwrap())
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn creating_the_tables_again_changes_nothing() {
    let client = database().await;
    for _ in 0..2 {
        create_all(&client, &names()).await.unwrap();
    }
    for table in [names().write, names().commands, names().read] {
        let found = client.describe_time_to_live().table_name(table).send().await.unwrap();
        let found = found.time_to_live_description.unwrap();
        assert_eq!(found.time_to_live_status, Some(TimeToLiveStatus::Enabled));
        assert_eq!(found.attribute_name.as_deref(), Some("expires_at"));
    }
}

#[tokio::test]
async fn a_table_with_another_key_is_refused() {
    let client = database().await;
    create(&client, &names().commands, "id").await;
    let error = create_all(&client, &names()).await.unwrap_err();
    assert!(matches!(&error, TableError::Mismatch { table, .. } if *table == names().commands), "{error}");
}

#[tokio::test]
async fn a_table_without_an_index_is_refused() {
    let client = database().await;
    create(&client, &names().read, "pk").await;
    let error = create_all(&client, &names()).await.unwrap_err();
    assert!(error.to_string().contains("lacks the index by-i1"), "{error}");
}
