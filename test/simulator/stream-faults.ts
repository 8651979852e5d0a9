import { type Answer, freeOfCharge, withPieces } from './answer.ts'
import type { Failure } from './api-shape.ts'
import type { ApiError } from './errors.ts'
import type { FaultParams } from './fault-params.ts'
import { isRecord } from './json-schema-sample.ts'
import { paced, step, stepsOf, wholeStep } from './pacing.ts'
import type { Played, Scene, Step } from './reply.ts'
import { COMMENT } from './sse.ts'

/** By default, so many events with output pass before a fault in the middle. */
const SOME_EVENTS = 3

/** Makes the bad answer from the good answer and its input. */
type StreamFault = (played: Played, scene: Scene, params: FaultParams) => Played

/** The steps before the fault: the given number of output events, or half of a whole body. */
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

/** A stream that fails after `how.outputs` output events, or a whole answer that failed. */
function failing(played: Played, scene: Scene, how: Failing): Played {
  const { wording } = scene.call
  const answer = freeOfCharge(scene.answer)
  const ended = { ...played, ending: 'close' as const, scene: { ...scene, answer } }
  if (wording.kind === 'whole') {
    const steps = [wholeStep(wording.failed(answer, how.failure), 0, scene.pacing)]
    const headers = { ...played.headers, 'content-type': 'application/json' }
    return { ...ended, headers, steps }
  }
  const before = upTo(played, how.outputs)
  const opening = how.opens === true ? wording.opening(answer) : []
  const sent = before.filter((next) => next.kind !== 'comment').length + opening.length
  const last = wording.failed(answer, how.failure, sent)
  const done = how.done ? [wording.done] : []
  const after = [...opening, ...last, ...done].map((event) => step(event, 0))
  return { ...ended, steps: [...before, ...after] }
}

interface Failing {
  readonly failure: Failure
  /** How many output events pass before the failure. */
  readonly outputs: number
  /** Whether events without output come before the failure. */
  readonly opens?: boolean
  /** Whether the stream's end mark follows. */
  readonly done: boolean
}

/** The error is the first data event, or follows the opening without output. */
function errorFirst(opening: 'nothing' | 'role'): StreamFault {
  return (played, scene, params) => {
    const error = providerError(params, scene)
    const failure = { kind: 'error', error, manner: 'newer' } as const
    return failing(played, scene, { failure, outputs: 0, opens: opening === 'role', done: false })
  }
}

/** A failure after some output. A whole answer holds the error beside a part of the answer. */
function midStream(failureOf: (params: FaultParams, scene: Scene) => Failure): StreamFault {
  return (played, scene, params) => {
    const failure = failureOf(params, scene)
    const whole = scene.call.wording.kind === 'whole' && failure.kind === 'error'
    return failing(played, scene, {
      failure: whole ? { kind: 'inner-error', error: failure.error } : failure,
      outputs: params.events ?? SOME_EVENTS,
      done: true,
    })
  }
}

const errorMidStream = midStream((params, scene) => ({
  kind: 'error',
  error: providerError(params, scene),
  manner: 'newer',
}))

const errorMidStreamOld = midStream(({ code, message, metadata }) => ({
  kind: 'error',
  error: {
    code: code ?? 400,
    message: message ?? 'Token limit reached',
    ...(metadata === undefined ? {} : { metadata }),
  },
  manner: 'older',
}))

const choiceError = midStream((params, scene) => ({
  kind: 'inner-error',
  error: providerError(params, scene),
}))

const finishError: StreamFault = (played, scene, params) =>
  failing(played, scene, {
    failure: { kind: 'unexplained' },
    outputs: params.events ?? 0,
    done: true,
  })

/** Another answer, sent without a failure. */
function instead(played: Played, scene: Scene, answer: Answer): Played {
  const changed = { ...scene, answer }
  return { ...played, steps: stepsOf(changed), scene: changed }
}

const longLine: StreamFault = (played, scene, params) => {
  const text = 'ü'.repeat((params.kilobytes ?? 256) * 512)
  const pieces = [{ kind: 'text' as const, text }, ...scene.answer.pieces]
  const answer = withPieces(scene.answer, scene.charges, pieces, scene.answer.finishReason)
  return { ...instead(played, scene, answer), error: null }
}

const emptyAnswer: StreamFault = (played, scene) =>
  instead(played, scene, withPieces(scene.answer, scene.charges, [], null))

const slowFirstToken: StreamFault = (played, { answer, pacing, call }, params) => {
  const totalMs = params.ms ?? 3000
  const everyMs = params.everyMs ?? 500
  const steps =
    call.wording.kind === 'stream'
      ? paced(call.wording.events(answer), pacing, { totalMs, everyMs })
      : played.steps.map((whole) => ({ ...whole, afterMs: totalMs }))
  return { ...played, steps, error: null }
}

const commentsThenHang: StreamFault = (played, { call }, params) => {
  const count = call.wording.kind === 'stream' ? (params.events ?? SOME_EVENTS) : 0
  const comment = step(COMMENT, params.everyMs ?? 10)
  return { ...played, steps: Array.from({ length: count }, () => comment), ending: 'silence' }
}

const cutBeforeOutput: StreamFault = (played, { answer, call }) => {
  const { wording } = call
  const events = wording.kind === 'stream' ? [COMMENT, ...wording.opening(answer)] : []
  return { ...played, steps: events.map((event) => step(event, 0)), ending: 'error' }
}

const endsAfter =
  (ending: Played['ending']): StreamFault =>
  (played, _scene, { events, afterEvents }) => ({
    ...played,
    steps: upTo(played, events ?? afterEvents ?? SOME_EVENTS),
    ending,
  })

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** A good answer that does not say what it used and cost. It is charged all the same. */
const noUsage: StreamFault = (played) => {
  const steps = played.steps.map((one) => {
    const text = decoder.decode(one.bytes)
    const isJson = one.kind === 'body' && text.startsWith('{')
    const told = isJson ? withoutUsage(text) : text.replace(/(?<=^data: ){.*}$/gm, withoutUsage)
    return told === text ? one : { ...one, bytes: encoder.encode(told) }
  })
  return { ...played, steps, error: null }
}

/** Usage is at the top, or in the message or response that an event holds. */
function withoutUsage(json: string): string {
  const strip = (value: unknown): unknown => {
    if (!isRecord(value)) return value
    const { usage: _, ...rest } = value
    return rest
  }
  const event = strip(JSON.parse(json))
  if (!isRecord(event)) return json
  const inner = ['message', 'response'].filter((name) => isRecord(event[name]))
  return JSON.stringify({
    ...event,
    ...Object.fromEntries(inner.map((name) => [name, strip(event[name])])),
  })
}

/** Faults that begin with a 200, by name. A whole answer gets the closest equivalent. */
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
  'no-usage': noUsage,
}
