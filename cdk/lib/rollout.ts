import { Stack, Validations } from 'aws-cdk-lib';
import type { IAlarm } from 'aws-cdk-lib/aws-cloudwatch';
import { LambdaApplication, LambdaDeploymentConfig, LambdaDeploymentGroup } from 'aws-cdk-lib/aws-codedeploy';
import type { Role } from 'aws-cdk-lib/aws-iam';
import { Construct } from 'constructs';
import type { Functions } from './functions';
import { allow, roleFor } from './permissions';

/**
 * New versions of functions take a tenth of the invocations for ten minutes, and then all. When one of these alarms goes
 * off meanwhile, everything goes back to the old ones, and the update of the stack fails.
 *
 * What runs side by side are two neighbouring rows at most, which no step minds (docs/adr/0011), if roles allow for both
 * (docs/adr/0016).
 */
export class Rollout extends Construct {
  constructor(scope: Construct, functions: Functions, alarms: IAlarm[]) {
    super(scope, 'Rollout');
    const application = new LambdaApplication(this, 'Application');
    // The construct would attach a policy of AWS's, which covers every function of the account.
    const role = this.role(functions).withoutPolicyUpdates();
    for (const [name, alias] of functions.aliases) {
      new LambdaDeploymentGroup(this, name, {
        application,
        alias,
        role,
        alarms,
        deploymentConfig: LambdaDeploymentConfig.CANARY_10PERCENT_10MINUTES,
      });
    }
  }

  /** https://docs.aws.amazon.com/codedeploy/latest/userguide/getting-started-create-service-role.html */
  private role(functions: Functions): Role {
    const functionArns = functions.all.map(([name]) =>
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
      reason: 'CodeDeploy asks for the state of all its alarms in one call, which names no resource.',
    });
    return role;
  }
}
