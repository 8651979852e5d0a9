import { gatewayError, noticeOf } from '../gateway/answers/gateway-error.ts'
import type { ApiShape } from '../openrouter/shapes/api-shape.ts'
import { countEvents, createEventNumbering } from './event-ids.ts'

const BROKEN_OFF = gatewayError(
  'upstream_unreachable',
  'The answer broke off and is incomplete. Try again.',
)

/** What a stream ends with that breaks off since the object which made it is gone. */
export function brokenOffEvents(shape: ApiShape): Uint8Array {
  return new TextEncoder().encode(shape.errorEvent(noticeOf(BROKEN_OFF)))
}

/** A numbered stream that was cut between two events, with the end that it lacks. */
export function endedByError(bytes: Uint8Array, answerId: string, shape: ApiShape): Uint8Array {
  const numbering = createEventNumbering(answerId, countEvents(bytes))
  const pieces = [bytes, ...numbering.push(brokenOffEvents(shape)), ...numbering.end()]
  const whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0))
  let offset = 0
  for (const piece of pieces) {
    whole.set(piece, offset)
    offset += piece.length
  }
  return whole
}
