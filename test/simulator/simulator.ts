import { Hono } from 'hono'
import type { ApiShape } from './api-shape.ts'
import { catalogue } from './catalogue.ts'
import { control } from './control.ts'
import { offeredSecret } from './credentials.ts'
import { credits } from './credits.ts'
import { deliver } from './delivery.ts'
import { failure } from './errors.ts'
import { strike } from './faults.ts'
import { generation } from './generations.ts'
import { infer, worded } from './inference.ts'
import { Journal } from './journal.ts'
import { isRecord } from './json-schema-sample.ts'
import { keyInfo } from './key-info.ts'
import { WEBSITE_404 } from './raw-faults.ts'
import type { Reply } from './reply.ts'
import { parsedBody } from './request-body.ts'
import { seededRandom, strikingRule } from './rules.ts'
import { chatCompletions } from './shapes/chat-completions.ts'
import { completions } from './shapes/completions.ts'
import { countTokens } from './shapes/count-tokens.ts'
import { embeddings } from './shapes/embeddings.ts'
import { images } from './shapes/images.ts'
import { messages } from './shapes/messages.ts'
import { rerank } from './shapes/rerank.ts'
import { responses } from './shapes/responses.ts'
import { speech } from './shapes/speech.ts'
import { transcriptions } from './shapes/transcriptions.ts'
import { errorContext, type Simulation, settingsOf, sha256Hex, type Visit } from './visit.ts'
import { defaultWorld, type World } from './world.ts'

/** The log keeps bodies up to this size. */
const LOGGED_BODY_BYTES = 65_536

/** The simulated inference APIs. A new API needs one more file and one more line here. */
const SHAPES: readonly ApiShape[] = [
  chatCompletions,
  completions,
  responses,
  messages,
  countTokens,
  embeddings,
  rerank,
  images,
  speech,
  transcriptions,
]

type Endpoint = 'inference' | 'api' | 'website'

function begin(world: World): Simulation {
  const { keys, settings } = world
  const names = keys.map((key) => key.name)
  return {
    world,
    rules: [],
    scripts: new Map(),
    journal: new Journal(names, settings.logLimit),
    rates: new Map(),
    inFlightUsd: new Map(),
    promptCache: new Map(),
    responseCache: new Map(),
    generations: new Map(),
    charges: [],
    random: seededRandom(settings.seed),
  }
}

/**
 * A fake OpenRouter with its own world. It does not depend on a runtime: a Worker (object.ts) and a
 * plain HTTP server (listen.ts) can both serve it.
 * `fetch` throws ConnectionCut if the server must close the connection without an answer.
 */
export function createSimulator(): { fetch(request: Request): Promise<Response> } {
  let simulation = begin(defaultWorld())
  const app = new Hono()
  app.get('/control/', (context) => context.redirect('/control'))
  app.route(
    '/control',
    control({
      current: () => simulation,
      reset(world) {
        simulation.journal.interruptAll()
        simulation = begin(world)
      },
    }),
  )
  app.options('/api/*', (context) => context.body(null, 204, PREFLIGHT))
  app.all('/api/*', (context) => exchange(simulation, context.req.raw))
  app.all('*', (context) => exchange(simulation, context.req.raw))
  app.onError((error) => {
    throw error
  })
  return { fetch: async (request) => app.fetch(request) }
}

const PREFLIGHT = {
  'access-control-allow-origin': '*',
  'access-control-allow-methods': 'GET,POST,PATCH,DELETE,OPTIONS',
  'access-control-allow-headers': '*',
}

async function exchange(simulation: Simulation, request: Request): Promise<Response> {
  const url = new URL(request.url)
  const path = url.pathname.replace(/^\/api\/v1(?=\/)/, '')
  const shape = SHAPES.find((candidate) => candidate.path === path)
  const endpoint = endpointOf(url, shape)
  const visit = await receive(simulation, request, { url, path, endpoint, shape })
  const reply = decide(visit, shape, endpoint)
  const interrupt = simulation.journal.interruptOf(visit.entry)
  return deliver(visit, reply, AbortSignal.any([request.signal, interrupt]))
}

function endpointOf(url: URL, shape: ApiShape | undefined): Endpoint {
  if (!url.pathname.startsWith('/api/')) return 'website'
  return shape !== undefined && url.pathname.startsWith('/api/v1/') ? 'inference' : 'api'
}

async function receive(
  simulation: Simulation,
  request: Request,
  to: { url: URL; path: string; endpoint: Endpoint; shape: ApiShape | undefined },
): Promise<Visit> {
  const { world, journal } = simulation
  const secret = offeredSecret(request.headers)
  const key = world.keys.find((candidate) => candidate.key === secret) ?? null
  const account = world.accounts.find((candidate) => candidate.id === key?.accountId) ?? null
  const arrived = {
    at: new Date().toISOString(),
    method: request.method,
    path: to.path,
    key: key?.name ?? null,
    account: account?.id ?? null,
    headers: withoutCredentials(request.headers),
  }
  const entry = journal.begin(arrived, to.endpoint === 'inference' ? 'inference' : 'other')
  const bytes = await request.arrayBuffer().catch((cause: unknown) => {
    journal.end(entry, { status: null, outcome: 'aborted', error: null, costUsd: 0 })
    throw new Error('The caller left while sending.', { cause })
  })
  const text = new TextDecoder().decode(bytes)
  const kept = bytes.byteLength <= LOGGED_BODY_BYTES ? text : null
  entry.body = { sha256: await sha256Hex(bytes), bytes: bytes.byteLength, text: kept }
  const type = request.headers.get('content-type')
  const form = type?.startsWith('multipart/form-data') === true && to.shape?.takesForms === true
  const body = await parsedBody(bytes, text, form ? type : null)
  entry.model = isRecord(body) && typeof body.model === 'string' ? body.model : null
  return {
    simulation,
    entry,
    url: to.url,
    credential: secret !== null,
    key,
    account,
    keyHash: key === null ? '' : await sha256Hex(key.key),
    body,
    apiType: to.shape?.apiType ?? null,
    nowMs: world.settings.nowMs ?? Date.now(),
    release: () => undefined,
    remember: () => undefined,
  }
}

function withoutCredentials(headers: Headers): Record<string, string> {
  const kept = [...headers].filter(([name]) => name !== 'authorization' && name !== 'x-api-key')
  return Object.fromEntries(kept)
}

/** The reply of an outage, else of the first rule that strikes, else of the endpoint. */
function decide(visit: Visit, shape: ApiShape | undefined, endpoint: Endpoint): Reply {
  if (endpoint === 'website') return { kind: 'whole', ...WEBSITE_404, error: '404' }
  const wording = shape ?? chatCompletions
  const proceed = () =>
    endpoint === 'inference' ? infer(visit, wording) : ordinary(visit, wording)
  const { entry, simulation } = visit
  const target = { ...entry, inference: endpoint === 'inference' }
  const injected =
    settingsOf(visit).outage ?? strikingRule(simulation.rules, target, simulation.random)
  if (injected === null) return proceed()
  entry.fault = injected.fault
  return strike(injected.fault, {
    errors: errorContext(visit, { model: entry.model ?? 'unknown', params: injected.params }),
    proceed,
    worded: (answer, label) => worded(visit, wording, answer, label),
  })
}

function ordinary(visit: Visit, wording: ApiShape): Reply {
  const { method, path } = visit.entry
  const own = method === 'GET' ? ownDetails(visit, path) : null
  return own ?? catalogue(visit) ?? worded(visit, wording, failure(404, 'Not Found'))
}

/** The endpoints where a key asks about itself and its account; null for another path. */
function ownDetails(visit: Visit, path: string): Reply | null {
  const { keyPaths } = settingsOf(visit)
  switch (path) {
    case '/key':
      return keyPaths === 'older' ? null : keyInfo(visit)
    case '/auth/key':
      return keyPaths === 'newer' ? null : keyInfo(visit)
    case '/credits':
      return credits(visit)
    case '/generation':
      return generation(visit, 'data')
    case '/generation/content':
      return generation(visit, 'content')
    default:
      return null
  }
}
