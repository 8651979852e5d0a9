import type { Answer } from '../answer.ts'
import type { WholeWording } from '../api-shape.ts'
import type { Json } from '../json-schema-sample.ts'
import { asJson } from '../request-fields.ts'

/**
 * The wording of an answer without choices. In a 200, an error replaces the answer, and a failure
 * without an error leaves the answer empty.
 */
export function plainWording(
  answer: (answer: Answer) => Json,
  empty: (answer: Answer) => Json,
): WholeWording {
  return {
    kind: 'whole',
    contentType: 'application/json',
    // A finish reason of null means the fault that gives an empty answer.
    answer: (given) => (given.finishReason === null ? empty(given) : answer(given)),
    failed: (given, failure) =>
      failure.kind === 'unexplained'
        ? empty(given)
        : { id: given.id, error: asJson(failure.error) },
  }
}
