import { Aws, RemovalPolicy, Tags } from 'aws-cdk-lib';
import {
  CfnSecurityGroupIngress,
  FlowLogDestination,
  FlowLogTrafficType,
  GatewayVpcEndpointAwsService,
  InterfaceVpcEndpointAwsService,
  Peer,
  Port,
  SecurityGroup,
  SubnetType,
  Vpc,
} from 'aws-cdk-lib/aws-ec2';
import { AnyPrincipal, Effect, PolicyStatement } from 'aws-cdk-lib/aws-iam';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import type { Config } from './config';
import type { FunctionSpec } from './service';
import { does, holdsSigningKeys, queues, type StageConfig, usesRedis } from './stages';

/**
 * The network of Redis and of the functions that use it. Stages without Redis have no network.
 *
 * It has no connection to the internet and no NAT gateway, which costs $33 a month and $0.045 per GB. The functions reach AWS
 * through endpoints. The one for DynamoDB is free. The others cost about $7.30 a month in each of two zones, and $0.01 per GB.
 *
 * The endpoint of Secrets Manager serves the signing keys, which functions read at their start. In the stages with a queue, there
 * is also an endpoint of SQS. ingest-fn defers messages through it, and write-fn queues messages if it also uses Redis.
 */
export class Network extends Construct {
  readonly vpc: Vpc;
  /** The security group of the functions. */
  readonly functions: SecurityGroup;

  constructor(scope: Construct, config: Config, rows: readonly StageConfig[]) {
    super(scope, 'Network');
    // By default the tag contains the construct's path with the stage, and would change at every stage.
    Tags.of(this).add('Name', config.name, { priority: 200 });
    this.vpc = new Vpc(this, 'Vpc', {
      maxAzs: 2,
      natGateways: 0,
      subnetConfiguration: [{ name: 'Isolated', subnetType: SubnetType.PRIVATE_ISOLATED, cidrMask: 20 }],
      // The restriction needs a function of its own. No resource uses the default security group.
      restrictDefaultSecurityGroup: false,
    });
    this.vpc.addFlowLog('FlowLog', {
      trafficType: FlowLogTrafficType.REJECT,
      destination: FlowLogDestination.toCloudWatchLogs(
        new LogGroup(this, 'RejectedTraffic', {
          retention: config.logRetentionDays,
          removalPolicy: RemovalPolicy.DESTROY,
        }),
      ),
    });
    this.functions = new SecurityGroup(this, 'Functions', {
      vpc: this.vpc,
      description: 'Functions that use Redis',
      allowAllOutbound: false,
    });
    // DynamoDB's addresses are public, and a template cannot find the name of its prefix list. No other public address has a route.
    this.functions.addEgressRule(Peer.anyIpv4(), Port.tcp(443), 'AWS, through the endpoints');
    this.endpoints(rows);
  }

  /**
   * Lets the functions connect to a port of a security group. Do not use the group's own `addIngressRule`: the logical ids of its
   * rules contain the peer's path with the stage. AWS refuses the same rule under another id as a duplicate.
   */
  letFunctionsIn(to: SecurityGroup, port: number): void {
    new CfnSecurityGroupIngress(to, 'FromFunctions', {
      groupId: to.securityGroupId,
      sourceSecurityGroupId: this.functions.securityGroupId,
      ipProtocol: 'tcp',
      fromPort: port,
      toPort: port,
      description: 'Functions that use Redis',
    });
  }

  private endpoints(rows: readonly StageConfig[]): void {
    const anyInNetwork = (matches: (row: StageConfig, spec: FunctionSpec) => boolean) =>
      rows.some((row) => row.functions.some((spec) => usesRedis(row, spec) && matches(row, spec)));
    const sameAccount = () =>
      new PolicyStatement({
        effect: Effect.ALLOW,
        principals: [new AnyPrincipal()],
        actions: ['*'],
        resources: ['*'],
        // Prevents copies of data to or from another account.
        conditions: {
          StringEquals: { 'aws:PrincipalAccount': Aws.ACCOUNT_ID, 'aws:ResourceAccount': Aws.ACCOUNT_ID },
        },
      });
    this.vpc
      .addGatewayEndpoint('DynamoDb', { service: GatewayVpcEndpointAwsService.DYNAMODB })
      .addToPolicy(sameAccount());
    const addEndpoint = (id: string, service: InterfaceVpcEndpointAwsService) => {
      const securityGroup = new SecurityGroup(this, `${id}Endpoint`, {
        vpc: this.vpc,
        description: `Endpoint of ${id}`,
        allowAllOutbound: false,
      });
      this.letFunctionsIn(securityGroup, 443);
      const endpoint = this.vpc.addInterfaceEndpoint(id, { service, securityGroups: [securityGroup], open: false });
      endpoint.addToPolicy(sameAccount());
    };
    if (anyInNetwork((_, spec) => holdsSigningKeys(spec))) {
      addEndpoint('SecretsManager', InterfaceVpcEndpointAwsService.SECRETS_MANAGER);
    }
    if (anyInNetwork((row, spec) => does(spec, 'ingest') || queues(row, spec))) {
      addEndpoint('Sqs', InterfaceVpcEndpointAwsService.SQS);
    }
  }
}
