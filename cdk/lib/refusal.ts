/** What somebody must put right before anything can be deployed. Printed without a stack trace. */
export class Refusal extends Error {}
