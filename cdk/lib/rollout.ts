import { Stack, Validations } from 'aws-cdk-lib';
import { LambdaApplication, LambdaDeploymentConfig, LambdaDeploymentGroup } from 'aws-cdk-lib/aws-codedeploy';
import type { Role } from 'aws-cdk-lib/aws-iam';
import { Construct } from 'constructs';
import type { Functions } from './functions';
import type { Monitoring } from './monitoring';
import { allow, roleFor } from './permissions';

/**
 * The canary: new versions of functions get a tenth of the invocations for ten minutes, and then all. If one of a function's
 * rollback alarms goes off meanwhile, its alias returns to the old version. The update of the stack then fails, which rolls back
 * the other functions.
 *
 * At most two adjacent stages run at the same time, as the steps allow (docs/adr/0011). The roles permit both (docs/adr/0016).
 */
export class Rollout extends Construct {
  constructor(scope: Construct, functions: Functions, monitoring: Monitoring) {
    super(scope, 'Rollout');
    const application = new LambdaApplication(this, 'Application');
    // The construct would attach an AWS policy that covers every function of the account.
    const role = this.role(functions).withoutPolicyUpdates();
    for (const [spec, alias] of functions.aliases) {
      const group = new LambdaDeploymentGroup(this, spec.name, {
        application,
        alias,
        role,
        alarms: monitoring.rollbackAlarms(spec),
        deploymentConfig: LambdaDeploymentConfig.CANARY_10PERCENT_10MINUTES,
      });
      // The deployment group with its alarms must exist before the alias moves to the new version.
      alias.node.addDependency(group);
    }
  }

  /** https://docs.aws.amazon.com/codedeploy/latest/userguide/getting-started-create-service-role.html */
  private role(functions: Functions): Role {
    const functionArns = functions.all.map(([{ name }]) =>
      Stack.of(this).formatArn({ service: 'lambda', resource: `function:${functions.nameOf(name)}` }),
    );
    const role = roleFor(
      this,
      'codedeploy.amazonaws.com',
      allow(
        ['lambda:GetAlias', 'lambda:UpdateAlias', 'lambda:GetProvisionedConcurrencyConfig'],
        ...functionArns.flatMap((arn) => [arn, `${arn}:live`]),
      ),
      allow(['cloudwatch:DescribeAlarms'], '*'),
    );
    Validations.of(role).acknowledge({
      id: 'AwsSolutions::AwsSolutions-IAM5[Resource::*]',
      reason: 'CodeDeploy reads the states of all its alarms in one call, which takes no resource.',
    });
    return role;
  }
}
