import { Fn, Stack } from 'aws-cdk-lib';
import { CfnSecurityGroupEgress, SecurityGroup } from 'aws-cdk-lib/aws-ec2';
import { CfnServerlessCache, CfnUser, CfnUserGroup } from 'aws-cdk-lib/aws-elasticache';
import { Construct } from 'constructs';
import type { Config } from './config';
import type { Network } from './network';

/** The port of Redis, with TLS. A serverless cache offers no other. */
const PORT = 6379;

/** Limits the cost of a mistake: 5 GB of data, 30,000 ECPU per second. */
const LIMITS: CfnServerlessCache.CacheUsageLimitsProperty = {
  dataStorage: { unit: 'GB', maximum: 5 },
  ecpuPerSecond: { maximum: 30_000 },
};

/**
 * The commands that shared/adapters/src/redis_cache.rs sends, directly and in its scripts, and no others. The redis crate sends
 * `CLIENT SETINFO` when it connects. `AUTH` is always allowed before a login. The other commands of @connection could stop or close
 * other clients' connections.
 */
const COMMANDS = '-@all +client|setinfo +get +set +pttl +type +del +eval +evalsha +script|load';

/** The shared cache: ElastiCache Serverless for Valkey. The functions log in with IAM. */
export class Cache extends Construct {
  readonly name: string;
  readonly user: string;
  readonly url: string;
  /** The resources that a function needs permission for, to log in. */
  readonly arns: string[];

  constructor(scope: Construct, config: Config, network: Network) {
    super(scope, 'Cache');
    this.name = this.user = config.name;
    const user = new CfnUser(this, 'User', {
      engine: 'valkey',
      // IAM authentication requires that both are the same.
      userId: this.user,
      userName: this.user,
      authenticationMode: { Type: 'iam' },
      accessString: `on ~* ${COMMANDS}`,
    });
    const group = new CfnUserGroup(this, 'Users', { engine: 'valkey', userGroupId: config.name, userIds: [user.ref] });
    const securityGroup = new SecurityGroup(this, 'SecurityGroup', {
      vpc: network.vpc,
      description: 'Redis',
      allowAllOutbound: false,
    });
    network.letFunctionsIn(securityGroup, PORT);
    new CfnSecurityGroupEgress(securityGroup, 'OfFunctions', {
      groupId: network.functions.securityGroupId,
      destinationSecurityGroupId: securityGroup.securityGroupId,
      ipProtocol: 'tcp',
      fromPort: PORT,
      toPort: PORT,
      description: 'Redis',
    });
    const cache = new CfnServerlessCache(this, 'Cache', {
      engine: 'valkey',
      majorEngineVersion: '8',
      serverlessCacheName: this.name,
      description: 'Views of items, shared by all environments',
      cacheUsageLimits: LIMITS,
      securityGroupIds: [securityGroup.securityGroupId],
      subnetIds: network.vpc.isolatedSubnets.map((subnet) => subnet.subnetId),
      userGroupId: group.ref,
    });
    this.url = Fn.join('', ['rediss://', this.user, '@', cache.attrEndpointAddress, `:${PORT}`]);
    this.arns = [
      Stack.of(this).formatArn({ service: 'elasticache', resource: `serverlesscache:${this.name}` }),
      Stack.of(this).formatArn({ service: 'elasticache', resource: `user:${this.user}` }),
    ];
  }
}
