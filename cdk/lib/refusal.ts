/** An error that the operator must fix before a deployment. It is printed without a stack trace. */
export class Refusal extends Error {}
