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
import type { Row } from './stages';

/** The tables, with keys, indexes and time to live as shared/adapters/src/tables.rs has them. */
export class Stores extends Construct {
  /** States and claims. */
  readonly write: TableV2;
  /** Records of commands. */
  readonly commands: TableV2;
  /** Views that readers see, in the rows that write them. */
  readonly read?: TableV2;
  /** Views of another projection, likewise, while one takes the place of the other. */
  readonly otherRead?: TableV2;

  constructor(
    scope: Construct,
    private readonly config: Config,
    rows: readonly Row[],
  ) {
    super(scope, 'Stores');
    this.write = this.original('Write', 'write', SERVICE.slots, config.domainEvents);
    this.commands = this.original('Commands', 'commands', []);
    if (rows.some((row) => row.writes_read_store)) {
      this.read = this.ofProjection(config.projection);
      if (config.otherProjection !== undefined && rows.some((row) => row.queue_deployed)) {
        this.otherRead = this.ofProjection(config.otherProjection);
      }
    }
    retain(this, config);
  }

  /**
   * Told in every row: it also says which projection the caches hold, and that must not change between rows. A text also
   * where there is such a table, so that nothing about a function changes when the table goes.
   */
  get readName(): string {
    return `${this.config.name}-read-v${this.config.projection}`;
  }

  get all(): TableV2[] {
    return [this.write, this.commands, ...this.views];
  }

  /** Those that hold views. When readers go from one to the other, some still look into the first for a while. */
  get views(): TableV2[] {
    return [this.read, this.otherRead].filter((table) => table !== undefined);
  }

  /** What the indexes of a table are called. */
  indexesOf(table: TableV2): string[] {
    return table === this.commands ? [] : SERVICE.slots.map(indexName);
  }

  /** The version of the projection ends the name, and the logical id: flipping two of them touches neither table. */
  private ofProjection(projection: number): TableV2 {
    return this.table(`ReadV${projection}`, `read-v${projection}`, SERVICE.slots);
  }

  /**
   * A table of what exists nowhere else. A restored one has another name, and another logical id as well: so CloudFormation
   * adopts it, and leaves the damaged one in the account, instead of replacing the one by the other.
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
      // Which keys are throttled is what an operator asks; the other mode also bills every access.
      contributorInsightsSpecification: {
        enabled: contributorInsights,
        mode: ContributorInsightsMode.THROTTLED_KEYS,
      },
      deletionProtection: retainData,
      ...(warm && { warmThroughput: warm }),
      ...(streamed && { dynamoStream: StreamViewType.NEW_IMAGE }),
    });
    tellNoKeysOf(table, slots);
    return table;
  }
}

/** The name of the index of a slot, as in shared/adapters/src/tables.rs: DynamoDB asks for three characters or more. */
function indexName(slot: string): string {
  return `by-${slot}`;
}

/**
 * Contributor Insights shows keys as they are: those of tables are ids and digests, but those of indexes hold what items are
 * listed by, such as the names of users. An index would do as its table does, and the construct has no setting of its own
 * for it.
 */
function tellNoKeysOf(table: TableV2, slots: readonly string[]): void {
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
