import { answerTo } from './answer.ts'
import type { ApiShape, Call } from './api-shape.ts'
import { refusedCredential } from './credentials.ts'
import { type ErrorAnswer, failure } from './errors.ts'
import { type FaultParams, faultParamsSchema } from './fault-params.ts'
import { FAULT_NAMES, strike } from './faults.ts'
import { findModel, type Model } from './models.ts'
import { type Pacing, pacingOf, stepsOf } from './pacing.ts'
import { chargesOf, NO_CHARGES, servingEndpoint } from './prices.ts'
import { cachedTokens, keepPrompt } from './prompt-cache.ts'
import { refused } from './refusal.ts'
import { json, type Reply, type Scene } from './reply.ts'
import { cacheDirective, cachedAnswer, keepAnswer, missHeaders } from './response-cache.ts'
import { scripted } from './scripts.ts'
import { errorContext, settingsOf, type Visit } from './visit.ts'

interface ModelFault {
  readonly fault: string
  readonly params: FaultParams
  readonly onlyKey: string | null
}

/** The reply of an inference API: an answer, a refusal, or what a special model name asks for. */
export function infer(visit: Visit, shape: ApiShape): Reply {
  if (visit.entry.method !== 'POST') return worded(visit, shape, failure(405, 'Method Not Allowed'))
  const unauthorized = refusedCredential(visit)
  if (unauthorized !== null) return worded(visit, shape, unauthorized.answer, unauthorized.label)
  const parsed = shape.parse(visit.body, settingsOf(visit))
  if (parsed.kind === 'invalid') return worded(visit, shape, parsed.answer, 'invalid')
  const { call } = parsed
  visit.entry.stream = call.wording.kind === 'stream'
  const model = findModel(call.model)
  const special = specialReply(visit, shape, call)
  if (special !== null) return special
  if (model === undefined) return unknownModel(visit, shape, call)
  const fault = modelFault(call.model)
  const proceed = () => answered(visit, shape, call, model)
  if (fault === null || (fault.onlyKey !== null && fault.onlyKey !== visit.key?.name)) {
    return proceed()
  }
  visit.entry.fault ??= fault.fault
  return strike(fault.fault, {
    errors: errorContext(visit, { model: call.model, params: fault.params }),
    proceed,
    worded: (answer, label) => worded(visit, shape, answer, label),
  })
}

/** An error in the API's own envelope. */
export function worded(visit: Visit, shape: ApiShape, answer: ErrorAnswer, label?: string): Reply {
  // A body names the user only if the credential was good.
  const userId = answer.status === 401 ? null : (visit.account?.creatorUserId ?? null)
  const error = label ?? String(answer.status)
  const body = shape.errorBody(answer, { userId, settings: settingsOf(visit) })
  return json(answer.status, body, { headers: answer.headers, error })
}

/** The script of `script/<name>`. An unknown name after `sim/` or `script/` is an error. */
function specialReply(visit: Visit, shape: ApiShape, call: Call): Reply | null {
  if (call.model.startsWith('script/')) {
    const script = visit.simulation.scripts.get(call.model.slice('script/'.length))
    return script === undefined ? unknownModel(visit, shape, call) : scripted(script)
  }
  if (!call.model.startsWith('sim/') || modelFault(call.model) !== null) return null
  return unknownModel(visit, shape, call)
}

function unknownModel(visit: Visit, shape: ApiShape, call: Call): Reply {
  const answer = failure(400, `${call.model} is not a valid model ID`)
  return worded(visit, shape, answer, 'invalid-model')
}

/** Reads `sim/<fault>`, optionally followed by `?param=value&…` and `@<key name>`. */
function modelFault(id: string): ModelFault | null {
  const match = /^sim\/([\w-]+)(?:\?([^@]*))?(?:@([\w.-]+))?$/.exec(id)
  const fault = match?.[1]
  if (fault === undefined || !FAULT_NAMES.includes(fault)) return null
  const params = faultParamsSchema.safeParse(paramsOf(match?.[2] ?? ''))
  return params.success ? { fault, params: params.data, onlyKey: match?.[3] ?? null } : null
}

function paramsOf(query: string): Record<string, unknown> {
  const typed = (value: string) => (/^\d+$/.test(value) ? Number(value) : value)
  return Object.fromEntries(
    [...new URLSearchParams(query)].map(([name, value]) => [
      name,
      value === 'true' ? true : typed(value),
    ]),
  )
}

function answered(visit: Visit, shape: ApiShape, call: Call, model: Model): Reply {
  const settings = settingsOf(visit)
  const request = cacheDirective(visit)
  const hit = request === null ? null : cachedAnswer(visit, request)
  if (hit !== null) {
    visit.simulation.journal.countHit(visit.entry)
    const { answer, headers } = hit
    return perform({ call, model, charges: NO_CHARGES, answer, pacing: AT_ONCE }, headers)
  }
  const endpoint = servingEndpoint(model, visit.body, settings)
  if (endpoint === null) return noEndpoint(visit, shape, call)
  const { promptTokens } = call
  const asked = { promptTokens, body: visit.body, nowMs: visit.nowMs }
  const charges = chargesOf(model, endpoint, asked, settings)
  const refusal = refused(visit, call, model, charges)
  if (refusal !== null) return worded(visit, shape, refusal.answer, refusal.label)
  const at = { nowMs: Date.now(), cachedTokens: cachedTokens(visit, call), charges }
  const answer = answerTo(call, model, settings, at)
  visit.remember = () => {
    keepPrompt(visit, call)
    if (request !== null) keepAnswer(visit, request, answer)
    visit.simulation.journal.countPrompt(visit.entry, answer.usage)
  }
  const pacing = pacingOf(visit.key, settings, visit.simulation.random)
  const headers = request === null ? {} : missHeaders(request)
  return perform({ call, model, charges, answer, pacing }, headers)
}

function noEndpoint(visit: Visit, shape: ApiShape, call: Call): Reply {
  const answer = failure(404, `No endpoints found for ${call.model} within max_price`)
  return worded(visit, shape, answer, 'no-endpoint')
}

/** The pacing of answers from the response cache: there is no provider to wait for. */
const AT_ONCE: Pacing = { ttftMs: 0, tokensPerSecond: null, jitter: 0, random: () => 0 }

function perform(scene: Scene, cacheHeaders: Readonly<Record<string, string>>): Reply {
  const { wording } = scene.call
  const headers = {
    'content-type': wording.kind === 'stream' ? 'text/event-stream' : wording.contentType,
    'cache-control': 'no-cache',
    'x-generation-id': scene.answer.id,
    ...cacheHeaders,
  }
  const steps = stepsOf(scene)
  return { kind: 'played', status: 200, headers, steps, ending: 'close', error: null, scene }
}
