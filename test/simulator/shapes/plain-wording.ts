import type { Answer } from '../answer.ts'
import type { WholeWording } from '../api-shape.ts'
import type { Json } from '../json-schema-sample.ts'
import { asJson } from '../request-fields.ts'

/**
 * The wording of an answer that has no choices to fail within: an error in a 200 stands alone,
 * and one that nobody explains leaves the answer empty.
 */
export function plainWording(
  answer: (answer: Answer) => Json,
  empty: (answer: Answer) => Json,
): WholeWording {
  return {
    kind: 'whole',
    contentType: 'application/json',
    // A finish reason of null is the fault that answers with nothing.
    answer: (given) => (given.finishReason === null ? empty(given) : answer(given)),
    failed: (given, failure) =>
      failure.kind === 'unexplained'
        ? empty(given)
        : { id: given.id, error: asJson(failure.error) },
  }
}
