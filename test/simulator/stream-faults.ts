import { type Answer, freeOfCharge, withPieces } from './answer.ts'
import type { StreamEvent } from './api-shape.ts'
import type { ApiError } from './errors.ts'
import type { FaultParams } from './fault-params.ts'
import { firstTokenMs, paced, step, wholeStep } from './pacing.ts'
import type { Played, Scene, Step } from './reply.ts'

/** How many events with output pass before a fault in the middle, unless it is told otherwise. */
const SOME_EVENTS = 3

/** The good answer and what it was made from; returns the bad one. */
type StreamFault = (played: Played, scene: Scene, params: FaultParams) => Played

/** What passes before the fault: so many output events, or of a whole body the first half. */
function upTo(played: Played, outputs: number): Step[] {
  let left = outputs
  const steps: Step[] = []
  for (const next of played.steps) {
    if (next.kind === 'body') {
      const half = next.bytes.slice(0, Math.floor(next.bytes.length / 2))
      return outputs === 0 ? [] : [{ ...next, bytes: half }]
    }
    if (next.kind !== 'comment' && left === 0) break
    if (next.kind === 'output') left -= 1
    steps.push(next)
  }
  return steps
}

function providerError(params: FaultParams, scene: Scene): ApiError {
  const { code, message, metadata } = params
  if (code === undefined && message === undefined && metadata === undefined) {
    return {
      code: 502,
      message: 'Provider returned error',
      metadata: {
        provider_name: params.provider ?? scene.model.provider,
        raw: 'upstream connect error',
        error_type: 'provider_unavailable',
      },
    }
  }
  const error = { code: code ?? 502, message: message ?? 'Provider returned error' }
  return metadata === undefined ? error : { ...error, metadata }
}

function errorEvents(
  played: Played,
  scene: Scene,
  plan: { outputs: number; events: readonly StreamEvent[] },
): Played {
  const steps = [...upTo(played, plan.outputs), ...plan.events.map((event) => step(event, 0))]
  return { ...played, steps, ending: 'close', scene: free(scene) }
}

function wholeBody(played: Played, scene: Scene, body: unknown): Played {
  const steps = [wholeStep(body, 0, scene.pacing)]
  return { ...played, steps, ending: 'close', scene: free(scene) }
}

const free = (scene: Scene): Scene => ({ ...scene, answer: freeOfCharge(scene.answer) })

/** The first data event is the error, alone or after one that says nothing. */
function errorFirst(opening: 'nothing' | 'role'): StreamFault {
  return (played, scene, params) => {
    const { shape, answer, call } = scene
    const error = providerError(params, scene)
    if (!call.stream) return wholeBody(played, scene, shape.wholeError(answer, error))
    const role = opening === 'role' ? [shape.roleOnly(answer)] : []
    const events = [...role, shape.errorEvent(answer, error, 'newer')]
    return errorEvents(played, scene, { outputs: 0, events })
  }
}

const errorMidStream: StreamFault = (played, scene, params) => {
  const { shape, answer, call } = scene
  const error = providerError(params, scene)
  if (!call.stream) return wholeBody(played, scene, shape.wholeChoiceError(answer, error))
  const events = [shape.errorEvent(answer, error, 'newer'), shape.done()]
  return errorEvents(played, scene, { outputs: params.events ?? SOME_EVENTS, events })
}

const errorMidStreamOld: StreamFault = (played, scene, params) => {
  const { shape, call } = scene
  const error: ApiError = {
    code: params.code ?? 400,
    message: params.message ?? 'Token limit reached',
    ...(params.metadata === undefined ? {} : { metadata: params.metadata }),
  }
  const answer = freeOfCharge(scene.answer)
  if (!call.stream) return wholeBody(played, scene, shape.wholeChoiceError(answer, error))
  const events = [shape.errorEvent(answer, error, 'older'), shape.done()]
  return errorEvents(played, scene, { outputs: params.events ?? SOME_EVENTS, events })
}

const choiceError: StreamFault = (played, scene, params) => {
  const { shape, answer, call } = scene
  const error = providerError(params, scene)
  if (!call.stream) return wholeBody(played, scene, shape.wholeChoiceError(answer, error))
  const events = [shape.choiceErrorEvent(answer, error), shape.done()]
  return errorEvents(played, scene, { outputs: params.events ?? SOME_EVENTS, events })
}

const finishError: StreamFault = (played, scene, params) => {
  const { shape, call } = scene
  const answer = freeOfCharge(scene.answer)
  if (!call.stream) return wholeBody(played, scene, shape.wholeFinishError(answer))
  const events = [shape.finishErrorEvent(answer), shape.done()]
  return errorEvents(played, scene, { outputs: params.events ?? 0, events })
}

/** The good form of another answer. */
function instead(played: Played, scene: Scene, answer: Answer): Played {
  const { shape, pacing, call } = scene
  const steps = call.stream
    ? paced(shape.stream(answer, scene.settings), shape.comment(), pacing, {
        totalMs: firstTokenMs(pacing),
      })
    : [wholeStep(shape.whole(answer), answer.usage.completionTokens, pacing)]
  return { ...played, steps, scene: { ...scene, answer } }
}

const longLine: StreamFault = (played, scene, params) => {
  const text = 'ü'.repeat((params.kilobytes ?? 256) * 512)
  const pieces = [{ kind: 'text' as const, text }, ...scene.answer.pieces]
  const answer = withPieces(scene.answer, scene.model, pieces, scene.answer.finishReason)
  return { ...instead(played, scene, answer), error: null }
}

const emptyAnswer: StreamFault = (played, scene) =>
  instead(played, scene, withPieces(scene.answer, scene.model, [], null))

const slowFirstToken: StreamFault = (played, scene, params) => {
  const totalMs = params.ms ?? 3000
  const { shape, answer, pacing, call } = scene
  const everyMs = params.everyMs ?? 500
  const steps = call.stream
    ? paced(shape.stream(answer, scene.settings), shape.comment(), pacing, { totalMs, everyMs })
    : played.steps.map((whole) => ({ ...whole, afterMs: totalMs }))
  return { ...played, steps, error: null }
}

const commentsThenHang: StreamFault = (played, scene, params) => {
  const count = scene.call.stream ? (params.events ?? SOME_EVENTS) : 0
  const comment = step(scene.shape.comment(), params.everyMs ?? 10)
  return { ...played, steps: Array.from({ length: count }, () => comment), ending: 'silence' }
}

const cutBeforeOutput: StreamFault = (played, { shape, answer, call }) => {
  const events = call.stream ? [shape.comment(), shape.roleOnly(answer)] : []
  return { ...played, steps: events.map((event) => step(event, 0)), ending: 'error' }
}

const endsAfter =
  (ending: Played['ending']): StreamFault =>
  (played, _scene, { events, afterEvents }) => ({
    ...played,
    steps: upTo(played, events ?? afterEvents ?? SOME_EVENTS),
    ending,
  })

/** Faults that begin with a 200, by name. Whole answers have each fault's nearest equivalent. */
export const STREAM_FAULTS: Readonly<Record<string, StreamFault>> = {
  'hang-after-headers': (played) => ({ ...played, steps: [], ending: 'silence' }),
  'comments-then-hang': commentsThenHang,
  'slow-first-token': slowFirstToken,
  'cut-before-output': cutBeforeOutput,
  'cut-mid-stream': endsAfter('error'),
  'end-without-done': endsAfter('close'),
  stall: endsAfter('silence'),
  'error-first-event': errorFirst('nothing'),
  'role-then-error': errorFirst('role'),
  'error-in-200': errorFirst('nothing'),
  'error-mid-stream': errorMidStream,
  'error-mid-stream-old': errorMidStreamOld,
  'choice-error-in-200': choiceError,
  'finish-error': finishError,
  'long-line': longLine,
  'empty-answer': emptyAnswer,
}
