import { z } from 'zod'
import {
  alertTest,
  clientChanges,
  explainQuery,
  groupChanges,
  increase,
  listQuery,
  newClient,
  newGroup,
  purgeOrder,
  refresh,
  rotation,
} from '../../src/admin/admin-schemas.ts'
import {
  activeAlertAnswer,
  alertsAnswer,
  alertTestAnswer,
} from '../../src/admin/alerts/alert-answer-schemas.ts'
import {
  auditAnswer,
  budgetsAnswer,
  clientAnswer,
  clientsAnswer,
  exportAnswer,
  groupAnswer,
  groupsAnswer,
  purgeAnswer,
  redriveAnswer,
  tokenAnswer,
  usedBudget,
} from '../../src/admin/answer-schemas.ts'
import {
  requestAnswer,
  requestsAnswer,
  usageAnswer,
  usageRow,
} from '../../src/admin/history/history-answer-schemas.ts'
import { explainAnswer } from '../../src/admin/pool/explain-answer-schema.ts'
import {
  accountAnswer,
  counters,
  keyAnswer,
  poolAnswer,
  queueAnswer,
  refreshAnswer,
  routeAnswer,
} from '../../src/admin/pool/pool-answer-schemas.ts'
import { USAGE_BY } from '../../src/balancing/accounting/day-usage.ts'
import { REQUEST_OUTCOMES } from '../../src/balancing/accounting/request-row.ts'
import { SPEND_PERIODS } from '../../src/balancing/limits/quota-charge.ts'

/** Makes `docs/openapi.json`: the routes below, with bodies and answers by the code's own schemas. */

const TAKEN = {
  NewClient: newClient,
  ClientChanges: clientChanges,
  Rotation: rotation,
  NewGroup: newGroup,
  GroupChanges: groupChanges,
  Increase: increase,
  Purge: purgeOrder,
  Refresh: refresh,
  AlertTest: alertTest,
}

const GIVEN = {
  Client: clientAnswer,
  Clients: clientsAnswer,
  ClientAndToken: tokenAnswer,
  Group: groupAnswer,
  Groups: groupsAnswer,
  Budget: usedBudget,
  Budgets: budgetsAnswer,
  Audit: auditAnswer,
  Request: requestAnswer,
  Requests: requestsAnswer,
  UsageRow: usageRow,
  Usage: usageAnswer,
  Purged: purgeAnswer,
  Redrive: redriveAnswer,
  Counters: counters,
  Key: keyAnswer,
  Account: accountAnswer,
  Route: routeAnswer,
  Queue: queueAnswer,
  Pool: poolAnswer,
  Refreshed: refreshAnswer,
  Alert: activeAlertAnswer,
  Alerts: alertsAnswer,
  AlertTested: alertTestAnswer,
  Explanation: explainAnswer,
  Export: exportAnswer,
}

/** What a query may hold, by the code's own schemas. */
const QUERIES = { explain: explainQuery, list: listQuery }

/** What is said of the fields of queries. */
const QUERY_FIELDS: Readonly<Record<string, string>> = {
  model: 'The model that the request names, or an alias.',
  client: 'The id of the client that sends it; without one nobody’s limits count.',
  conversation: 'The name of the conversation, as session_id has it.',
  tokens: 'How many tokens it may use, prompt and answer.',
  limit: 'The most that are listed; 1000 without it.',
  after: 'The id after which the list goes on.',
}

interface Operation {
  readonly summary: string
  readonly query?: keyof typeof QUERIES
  readonly body?: keyof typeof TAKEN
  /** Whether an empty body does too. */
  readonly isBodyOptional?: true
  readonly status?: 200 | 201 | 204
  readonly answer?: keyof typeof GIVEN
  /** Whether the answer is a stream of server-sent events. */
  readonly isStream?: true
  /** Parameters of its query, by name, where texts stand for numbers and days. */
  readonly texts?: Readonly<
    Record<string, { readonly description: string; readonly schema: object }>
  >
  /** Whether it answers as CSV too. */
  readonly isCsvToo?: true
  /** What may be wrong with it, besides what may be wrong with any. */
  readonly faults?: readonly (400 | 404 | 409 | 413)[]
}

const BODY = [400, 413] as const

const reset: Operation = {
  summary: 'Forgets what is spent and lost of a budget.',
  answer: 'Budgets',
  faults: [404],
}

const increased: Operation = {
  summary: 'Adds to a budget until a moment. 0 takes the increase away.',
  body: 'Increase',
  answer: 'Budgets',
  faults: [...BODY, 404],
}

const steered = (summary: string): Operation => ({ summary, answer: 'Key', faults: [404] })

/** By method and path, as the app names its routes. */
export const OPERATIONS: Readonly<Record<string, Operation>> = {
  'GET /admin/api/events': {
    summary:
      'Server-sent events: `pool` once a second, `stale` while the pool’s object does not answer. The stream ends after five minutes; connect again.',
    isStream: true,
  },
  'GET /admin/api/pool': {
    summary:
      'All keys with the reasons against them, accounts, routes, the queue, and the clients and groups that use the most.',
    answer: 'Pool',
  },
  'POST /admin/api/keys/:id/pause': steered('The key takes no new request. Those that run go on.'),
  'POST /admin/api/keys/:id/drain': steered(
    'As pause. Until its last request has ended, its reason is draining; then it is paused.',
  ),
  'POST /admin/api/keys/:id/resume': steered('Ends a pause, or a drain.'),
  'POST /admin/api/keys/:id/reset': steered(
    'Forgets what the key was judged for, and what its account is benched for. A pause stays.',
  ),
  'POST /admin/api/credit/refresh': {
    summary: 'Looks up the credit of all keys, or of one, now.',
    body: 'Refresh',
    isBodyOptional: true,
    answer: 'Refreshed',
    faults: [...BODY, 404],
  },
  'GET /admin/api/explain': {
    summary: 'Which key a request would get now or what it would wait for, and why not the others.',
    query: 'explain',
    answer: 'Explanation',
    faults: [400, 404],
  },
  'GET /admin/api/client-keys': {
    summary:
      'The clients that were made at run time, with the hashes of their tokens, as CLIENT_KEYS takes them.',
    answer: 'Export',
  },
  'GET /admin/api/clients': {
    summary: 'The clients in the order of their ids, with what they have used.',
    query: 'list',
    answer: 'Clients',
    faults: [400],
  },
  'POST /admin/api/clients': {
    summary: 'Makes a client. The answer shows its token, once.',
    body: 'NewClient',
    status: 201,
    answer: 'ClientAndToken',
    faults: [...BODY, 409],
  },
  'GET /admin/api/clients/:id': { summary: 'One client.', answer: 'Client', faults: [404] },
  'PATCH /admin/api/clients/:id': {
    summary: 'Changes the fields that are given. null takes a limit away.',
    body: 'ClientChanges',
    answer: 'Client',
    faults: [...BODY, 404, 409],
  },
  'DELETE /admin/api/clients/:id': {
    summary: 'Revokes a client. It is refused everywhere within a minute.',
    status: 204,
    faults: [404, 409],
  },
  'POST /admin/api/clients/:id/rotate': {
    summary: 'Makes a new token and shows it, once. The one before stays valid for grace_s.',
    body: 'Rotation',
    isBodyOptional: true,
    answer: 'ClientAndToken',
    faults: [...BODY, 404, 409],
  },
  'POST /admin/api/clients/:id/budgets/:period/reset': reset,
  'POST /admin/api/clients/:id/budgets/:period/increase': increased,
  'GET /admin/api/groups': {
    summary: 'The groups in the order of their ids, with what they have used.',
    query: 'list',
    answer: 'Groups',
    faults: [400],
  },
  'POST /admin/api/groups': {
    summary: 'Makes a group.',
    body: 'NewGroup',
    status: 201,
    answer: 'Group',
    faults: [...BODY, 409],
  },
  'GET /admin/api/groups/:id': { summary: 'One group.', answer: 'Group', faults: [404] },
  'PATCH /admin/api/groups/:id': {
    summary: 'Changes the fields that are given. null takes a limit away.',
    body: 'GroupChanges',
    answer: 'Group',
    faults: [...BODY, 404, 409],
  },
  'DELETE /admin/api/groups/:id': {
    summary: 'Removes a group that has no clients.',
    status: 204,
    faults: [404, 409],
  },
  'POST /admin/api/groups/:id/budgets/:period/reset': reset,
  'POST /admin/api/groups/:id/budgets/:period/increase': increased,
  'GET /admin/api/alerts': {
    summary:
      'Alerts that are active, messages about them that are not delivered, and the latest reports.',
    answer: 'Alerts',
  },
  'POST /admin/api/alerts/test': {
    summary: 'Sends a signed test message to an address of ALERTS, and tells what it answered.',
    body: 'AlertTest',
    answer: 'AlertTested',
    faults: [...BODY, 404],
  },
  'GET /admin/api/requests': {
    summary: 'The last requests, the latest first: what became of them, attempt by attempt.',
    answer: 'Requests',
    texts: {
      limit: {
        description: 'The most rows.',
        schema: { type: 'integer', minimum: 1, maximum: 1000, default: 50 },
      },
      id: { description: 'The x-request-id of the response.', schema: { type: 'string' } },
      client: { description: 'Only of this client.', schema: { type: 'string' } },
      key: { description: 'Only with an attempt of this key.', schema: { type: 'string' } },
      outcome: {
        description: 'Only with this outcome.',
        schema: { type: 'string', enum: REQUEST_OUTCOMES },
      },
      since: {
        description: 'Only if ended since.',
        schema: { type: 'string', format: 'date-time' },
      },
    },
    faults: [400],
  },
  'GET /admin/api/usage': {
    summary: 'What was used on each UTC day, today so far included. 400 days are kept.',
    answer: 'Usage',
    isCsvToo: true,
    texts: {
      from: {
        description: 'The first day; that of `to` by default.',
        schema: { type: 'string', format: 'date' },
      },
      to: {
        description: 'The last day; today by default.',
        schema: { type: 'string', format: 'date' },
      },
      by: {
        description: 'What the names are of.',
        schema: { type: 'string', enum: USAGE_BY, default: 'client' },
      },
      format: {
        description: 'How it is answered.',
        schema: { type: 'string', enum: ['json', 'csv'], default: 'json' },
      },
    },
    faults: [400],
  },
  'POST /admin/api/cache/purge': {
    summary:
      'Throws kept answers away: of a client, a model, a route (its place in POLICY.routes) or all. It is in force everywhere within a minute.',
    body: 'Purge',
    answer: 'Purged',
    faults: BODY,
  },
  'POST /admin/api/batches/:id/redrive': {
    summary: 'Sends the dead lines of a batch again.',
    answer: 'Redrive',
    faults: [404, 409],
  },
  'GET /admin/api/audit': {
    summary: 'The last thousand changes, the newest first.',
    answer: 'Audit',
  },
}

const FAULTS = {
  400: 'The body, or the query, is not what it must be; the message names the field.',
  401: 'No valid admin token.',
  403: 'READ_TOKEN, and a call that is no GET; or a browser that was sent here by another site.',
  404: 'No such key, client, group, budget, address or batch. Without ADMIN_TOKEN and READ_TOKEN, any path.',
  409: 'There is one already, CLIENT_KEYS holds it, or something else of it is in the way.',
  413: 'The body is too large.',
  429: 'Too many wrong tokens came from this network. See Retry-After.',
  503: "The pool's object does not answer. See Retry-After.",
}

const PARAMETERS = {
  id: {
    name: 'id',
    in: 'path',
    required: true,
    description: 'The name of the key, the client or the group, or the id of the batch.',
    schema: { type: 'string' },
  },
  period: {
    name: 'period',
    in: 'path',
    required: true,
    description: 'The period of the budget.',
    schema: { type: 'string', enum: SPEND_PERIODS },
  },
}

const ERROR = {
  type: 'object',
  required: ['error'],
  properties: {
    error: {
      type: 'object',
      required: ['code', 'message', 'metadata'],
      properties: {
        code: { type: 'integer', description: 'The status.' },
        message: { type: 'string' },
        metadata: {
          type: 'object',
          required: ['source', 'reason', 'error_type'],
          properties: {
            source: { const: 'switchyard' },
            reason: { type: 'string' },
            error_type: { type: 'string' },
            fault: { type: 'string', description: 'What an order was refused for.' },
          },
        },
      },
    },
  },
}

/** The whole document. */
export function openApi(): object {
  const schemas = { ...schemasOf(TAKEN, 'input'), ...schemasOf(GIVEN, 'output'), Error: ERROR }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Switchyard: admin API',
      version: '1',
      description:
        'For operators. It is there while ADMIN_TOKEN, READ_TOKEN or Cloudflare Access is set up. ADMIN_TOKEN and Access open all of it, READ_TOKEN every GET.',
    },
    servers: [{ url: '/', description: 'The gateway.' }],
    security: [{ adminToken: [] }],
    paths: pathsOf(),
    components: {
      securitySchemes: {
        adminToken: { type: 'http', scheme: 'bearer', description: 'ADMIN_TOKEN.' },
        readToken: { type: 'http', scheme: 'bearer', description: 'READ_TOKEN: GET only.' },
      },
      parameters: PARAMETERS,
      responses: Object.fromEntries(
        Object.entries(FAULTS).map(([status, description]) => [
          status,
          {
            description,
            ...(['429', '503'].includes(status)
              ? { headers: { 'Retry-After': { schema: { type: 'integer' } } } }
              : {}),
            content: contentOf('Error'),
          },
        ]),
      ),
      schemas,
    },
  }
}

function pathsOf(): object {
  const paths: Record<string, Record<string, object>> = {}
  for (const [name, operation] of Object.entries(OPERATIONS)) {
    const [method = '', route = ''] = name.split(' ')
    const path = route.replaceAll(/:(\w+)/g, '{$1}')
    paths[path] ??= {}
    paths[path][method.toLowerCase()] = operationOf(method, route, operation)
  }
  return paths
}

function parametersOf({ texts = {} }: Operation): object[] {
  return Object.entries(texts).map(([name, parameter]) => {
    return { name, in: 'query', required: false, ...parameter }
  })
}

function operationOf(method: string, route: string, operation: Operation): object {
  const { summary, body, isBodyOptional, status = 200, answer, isStream, faults = [] } = operation
  const ofPath = Array.from(route.matchAll(/:(\w+)/g), ([, name]) => {
    return { $ref: `#/components/parameters/${name}` }
  })
  const parameters = [...ofPath, ...queryOf(operation), ...parametersOf(operation)]
  const csv = operation.isCsvToo ? { 'text/csv': { schema: { type: 'string' } } } : {}
  const isRead = method === 'GET'
  const statuses = [...faults, 401, ...(isRead ? [] : [403]), 429, 503].toSorted((a, b) => a - b)
  return {
    operationId: operationIdOf(method, route),
    summary,
    ...(isRead ? { security: [{ adminToken: [] }, { readToken: [] }] } : {}),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined
      ? {}
      : { requestBody: { required: isBodyOptional !== true, content: contentOf(body) } }),
    responses: {
      [status]: {
        description: status === 204 ? 'Done.' : summary,
        ...(answer === undefined ? {} : { content: { ...contentOf(answer), ...csv } }),
        ...(isStream ? { content: { 'text/event-stream': { schema: { type: 'string' } } } } : {}),
      },
      ...Object.fromEntries(
        statuses.map((fault) => [fault, { $ref: `#/components/responses/${fault}` }]),
      ),
    },
  }
}

/** `POST /admin/api/keys/:id/pause` is `postKeysPause`, and `GET …/clients/:id` `getClientsById`. */
function operationIdOf(method: string, route: string): string {
  const words = route
    .replace('/admin/api/', '')
    .replace(/:(\w+)$/, 'by-$1')
    .split(/[/-]/)
    .filter((word) => !word.startsWith(':'))
  const capital = (word: string) => `${word.charAt(0).toUpperCase()}${word.slice(1)}`
  return `${method.toLowerCase()}${words.map(capital).join('')}`
}

function queryOf({ query }: Operation): object[] {
  if (query === undefined) return []
  const { properties = {}, required = [] } = z.toJSONSchema(QUERIES[query], { io: 'input' })
  return Object.entries(properties).map(([name, schema]) => ({
    name,
    in: 'query',
    required: required.includes(name),
    description: QUERY_FIELDS[name],
    schema,
  }))
}

const contentOf = (schema: string) => ({
  'application/json': { schema: { $ref: `#/components/schemas/${schema}` } },
})

/** The schemas as JSON Schema. Where one holds another of them, it refers to it. */
function schemasOf(schemas: Readonly<Record<string, z.core.$ZodType>>, io: 'input' | 'output') {
  const registry = z.registry<{ id: string }>()
  for (const [id, schema] of Object.entries(schemas)) registry.add(schema, { id })
  const extracted: Record<string, object> = {}
  const made = z.toJSONSchema(registry, {
    io,
    unrepresentable: 'any',
    uri: (id) => `#/components/schemas/${id}`,
    override: ({ zodSchema, jsonSchema }) => {
      const list = listOrOne(zodSchema)
      if (list === null) return
      extracted.NewBudget = list.items
      const items = { $ref: '#/components/schemas/NewBudget' }
      for (const name of Object.keys(jsonSchema)) Reflect.deleteProperty(jsonSchema, name)
      Object.assign(jsonSchema, { anyOf: [items, { ...list, items }] })
    },
  })
  const named = Object.fromEntries(
    Object.entries(made.schemas).map(([id, { $schema: _, $id: __, ...schema }]) => [id, schema]),
  )
  return { ...named, ...extracted }
}

/**
 * JSON Schema knows no transformation. The only one that comes before a check makes a list of one
 * budget: the list's schema is what comes out of it.
 */
function listOrOne(schema: z.core.$ZodTypes) {
  const { def } = schema._zod
  if (def.type !== 'pipe' || (def.in as z.core.$ZodTypes)._zod.def.type !== 'transform') return null
  const { $schema: _, ...list } = z.toJSONSchema(def.out, { io: 'input' })
  return { ...list, items: z.object({}).loose().parse(list.items) }
}
