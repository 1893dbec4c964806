import { CfnParameter, CfnRule, Duration, Fn } from 'aws-cdk-lib';
import { DeduplicationScope, FifoThroughputLimit, Queue, QueueEncryption, type QueueProps } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import type { Config } from './config';
import { retain } from './retention';

/** The number of deliveries after which a message becomes a dead letter. High, because deferrals count too. */
export const MAX_RECEIVE_COUNT = 20;
/**
 * The timeout of ingest-fn. A batch takes some milliseconds. The queue's visibility timeout is six times this timeout, and an early
 * command waits for about twice the visibility timeout.
 */
export const INGEST_TIMEOUT = Duration.seconds(10);

/**
 * The command queue and its dead-letter queue.
 *
 * CloudFormation names the queues, so a retained queue of an earlier deployment never collides with a new one.
 */
export class CommandQueue extends Construct {
  readonly queue: Queue;
  readonly deadLetters: Queue;
  /**
   * Six times the function's timeout, plus the batching window, as AWS advises. So a message stays hidden while its invocation
   * runs.
   */
  readonly visibilityTimeout: Duration;

  constructor(scope: Construct, config: Config) {
    super(scope, 'CommandQueue');
    const { fifo, windowSeconds } = config.queue;
    const kind: QueueProps = {
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      // High throughput: order within an item only.
      ...(fifo && {
        fifo,
        deduplicationScope: DeduplicationScope.MESSAGE_GROUP,
        fifoThroughputLimit: FifoThroughputLimit.PER_MESSAGE_GROUP_ID,
      }),
    };
    this.visibilityTimeout = Duration.seconds(6 * INGEST_TIMEOUT.toSeconds() + windowSeconds);
    this.deadLetters = new Queue(this, 'DeadLetters', {
      ...kind,
      retentionPeriod: Duration.days(14),
    });
    this.queue = new Queue(this, 'Commands', {
      ...kind,
      retentionPeriod: Duration.days(4),
      visibilityTimeout: this.visibilityTimeout,
      deadLetterQueue: { queue: this.deadLetters, maxReceiveCount: MAX_RECEIVE_COUNT },
    });
    retain(this, config);
    this.refuseAnotherType(fifo ? 'fifo' : 'standard');
  }

  /**
   * Makes CloudFormation refuse to replace the queue by one of the other type, because no function would read the commands left in
   * the old queue. The parameter keeps its value from update to update. A stage without a queue removes it.
   */
  private refuseAnotherType(type: 'standard' | 'fifo'): void {
    const deployed = new CfnParameter(this, 'Type', {
      default: type,
      description: 'The type of the command queue. CloudFormation remembers it while the queue is deployed.',
    });
    deployed.overrideLogicalId('QueueType');
    const rule = new CfnRule(this, 'TypeStays', {
      assertions: [
        {
          assert: Fn.conditionEquals(deployed.valueAsString, type),
          assertDescription:
            'queue.fifo cannot change while a queue is deployed: see "Change the type of the queue" in docs/deploy.md',
        },
      ],
    });
    rule.overrideLogicalId('QueueTypeStays');
  }
}
