import {
  AttributeType,
  Billing,
  CfnGlobalTable,
  ContributorInsightsMode,
  StreamViewType,
  TableV2,
} from 'aws-cdk-lib/aws-dynamodb';
import { Construct } from 'constructs';
import type { Config } from './config';
import { retain } from './retention';
import { SERVICE } from './service';
import type { StageConfig } from './stages';

/** The tables, with the same keys, indexes and time to live as in shared/adapters/src/tables.rs. */
export class Stores extends Construct {
  /** The write table: states and unique keys. */
  readonly write: TableV2;
  /** The commands table: the records of commands. */
  readonly commands: TableV2;
  /** The read table that readers use, in the stages that write one. */
  readonly read?: TableV2;
  /** The read table of a second projection, during a cutover. */
  readonly otherRead?: TableV2;

  constructor(
    scope: Construct,
    private readonly config: Config,
    rows: readonly StageConfig[],
  ) {
    super(scope, 'Stores');
    this.write = this.original('Write', 'write', SERVICE.slots, config.domainEvents);
    this.commands = this.original('Commands', 'commands', []);
    if (rows.some((row) => row.writes_read_store)) {
      this.read = this.readTable(config.projection);
      if (config.otherProjection !== undefined && rows.some((row) => row.queue_deployed)) {
        this.otherRead = this.readTable(config.otherProjection);
      }
    }
    retain(this, config);
  }

  /**
   * The name of the read table. Functions get it at every stage, because it also names the projection in cache keys, which must not
   * change between stages. It is a text and no reference, so that a function stays unchanged if the table is removed.
   */
  get readName(): string {
    return `${this.config.name}-read-v${this.config.projection}`;
  }

  get all(): TableV2[] {
    return [this.write, this.commands, ...this.views];
  }

  /** The read tables. During a cutover, some readers still use the first one for a while. */
  get views(): TableV2[] {
    return [this.read, this.otherRead].filter((table) => table !== undefined);
  }

  /** Returns the names of a table's indexes. */
  indexesOf(table: TableV2): string[] {
    return table === this.commands ? [] : SERVICE.slots.map(indexName);
  }

  /**
   * Creates a read table. Its name and logical id end in the projection's version, so a swap of two projections changes neither
   * table.
   */
  private readTable(projection: number): TableV2 {
    return this.table(`ReadV${projection}`, `read-v${projection}`, SERVICE.slots);
  }

  /**
   * Creates a table whose data exists nowhere else. A restored table has another name and another logical id. So CloudFormation
   * imports it and leaves the damaged table in the account, instead of replacing one by the other.
   */
  private original(id: string, name: string, slots: readonly string[], streamed = false): TableV2 {
    const { restored } = this.config;
    return restored === undefined
      ? this.table(id, name, slots, streamed)
      : this.table(`${id}R${restored}`, `${name}-r${restored}`, slots, streamed);
  }

  private table(id: string, name: string, slots: readonly string[], streamed = false): TableV2 {
    const { retainData, contributorInsights, warmThroughput } = this.config;
    const warm = warmThroughput && {
      readUnitsPerSecond: warmThroughput.reads,
      writeUnitsPerSecond: warmThroughput.writes,
    };
    const table = new TableV2(this, id, {
      tableName: `${this.config.name}-${name}`,
      partitionKey: { name: 'pk', type: AttributeType.STRING },
      globalSecondaryIndexes: slots.map((slot) => ({
        indexName: indexName(slot),
        partitionKey: { name: `${slot}_p`, type: AttributeType.STRING },
        sortKey: { name: `${slot}_s`, type: AttributeType.STRING },
        ...(warm && { warmThroughput: warm }),
      })),
      timeToLiveAttribute: 'expires_at',
      billing: Billing.onDemand(),
      pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
      // Operators need the throttled keys. The other mode bills every access.
      contributorInsightsSpecification: {
        enabled: contributorInsights,
        mode: ContributorInsightsMode.THROTTLED_KEYS,
      },
      deletionProtection: retainData,
      ...(warm && { warmThroughput: warm }),
      ...(streamed && { dynamoStream: StreamViewType.NEW_IMAGE }),
    });
    hideKeysOfIndexes(table, slots);
    return table;
  }
}

/** Returns the name of a slot's index, as in shared/adapters/src/tables.rs. DynamoDB requires at least three characters. */
function indexName(slot: string): string {
  return `by-${slot}`;
}

/**
 * Turns Contributor Insights off for the indexes, because it shows keys in plain text. Keys of tables are ids and digests, but keys
 * of indexes contain values such as the names of users. By default an index has the setting of its table, and the construct offers
 * no separate one.
 */
function hideKeysOfIndexes(table: TableV2, slots: readonly string[]): void {
  if (slots.length > 0) {
    (table.node.defaultChild as CfnGlobalTable).addPropertyOverride(
      'Replicas.0.GlobalSecondaryIndexes',
      slots.map((slot) => ({
        IndexName: indexName(slot),
        ContributorInsightsSpecification: { Enabled: false },
      })),
    );
  }
}
