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
import { does, holdsSigningKeys, queues, type Row, usesRedis } from './stages';

/**
 * The network in which Redis is, and the functions that use it; there is none where nobody does.
 *
 * Nothing in it reaches the internet, or is reached from there: no NAT gateway ($33 a month each, and $0.045 a GB).
 * What the functions need of AWS has endpoints. DynamoDB's costs nothing. The others cost about $7.30 a month in each
 * of two zones, and $0.01 a GB: Secrets Manager's, from which the functions get their signing keys as they start, and,
 * in the rows with a queue, SQS's: ingest-fn postpones messages, and write-fn queues them in the rows in which it also
 * uses Redis.
 */
export class Network extends Construct {
  readonly vpc: Vpc;
  /** Of the functions. */
  readonly functions: SecurityGroup;

  constructor(scope: Construct, config: Config, rows: readonly Row[]) {
    super(scope, 'Network');
    // Otherwise each construct's path, in which the row is, would rename everything from row to row.
    Tags.of(this).add('Name', config.name, { priority: 200 });
    this.vpc = new Vpc(this, 'Vpc', {
      maxAzs: 2,
      natGateways: 0,
      subnetConfiguration: [{ name: 'Isolated', subnetType: SubnetType.PRIVATE_ISOLATED, cidrMask: 20 }],
      // It would need a function of its own. Nothing uses the default security group.
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
    // DynamoDB's addresses are public, and its list of prefixes has no name that a template can tell. There is no route
    // to any other public address.
    this.functions.addEgressRule(Peer.anyIpv4(), Port.tcp(443), 'AWS, through the endpoints');
    this.endpoints(rows);
  }

  /**
   * Lets the functions in at a port of a group. Not by the group's own `addIngressRule`: the logical ids of its rules hold
   * the whole path of the peer, in which the row is, and the same rule under another id is refused as a duplicate.
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

  private endpoints(rows: readonly Row[]): void {
    const anyInside = (asks: (row: Row, spec: FunctionSpec) => boolean) =>
      rows.some((row) => row.functions.some((spec) => usesRedis(row, spec) && asks(row, spec)));
    const sameAccount = () =>
      new PolicyStatement({
        effect: Effect.ALLOW,
        principals: [new AnyPrincipal()],
        actions: ['*'],
        resources: ['*'],
        // Nothing can be carried off to another account, or brought from there.
        conditions: {
          StringEquals: { 'aws:PrincipalAccount': Aws.ACCOUNT_ID, 'aws:ResourceAccount': Aws.ACCOUNT_ID },
        },
      });
    this.vpc
      .addGatewayEndpoint('DynamoDb', { service: GatewayVpcEndpointAwsService.DYNAMODB })
      .addToPolicy(sameAccount());
    const reach = (id: string, service: InterfaceVpcEndpointAwsService) => {
      const securityGroup = new SecurityGroup(this, `${id}Endpoint`, {
        vpc: this.vpc,
        description: `Endpoint of ${id}`,
        allowAllOutbound: false,
      });
      this.letFunctionsIn(securityGroup, 443);
      const endpoint = this.vpc.addInterfaceEndpoint(id, { service, securityGroups: [securityGroup], open: false });
      endpoint.addToPolicy(sameAccount());
    };
    if (anyInside((_, spec) => holdsSigningKeys(spec))) {
      reach('SecretsManager', InterfaceVpcEndpointAwsService.SECRETS_MANAGER);
    }
    if (anyInside((row, spec) => does(spec, 'ingest') || queues(row, spec))) {
      reach('Sqs', InterfaceVpcEndpointAwsService.SQS);
    }
  }
}
