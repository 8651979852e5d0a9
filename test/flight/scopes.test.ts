import fc from 'fast-check'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { MEMORY } from '../../src/http/composition-root.ts'
import { createFlightWorld, WHOLE } from './flight-driver.ts'

beforeEach(() => void vi.spyOn(console, 'log').mockImplementation(() => undefined))
afterEach(async () => {
  vi.restoreAllMocks()
  await vi.waitFor(() => expect(MEMORY.heldBytes()).toBe(0), { timeout: 2_000 })
})

/** Two groups, and two clients whose names and groups are made to be mistaken for each other. */
const CLIENTS = [
  { id: 'app', group: 'team' },
  { id: 'mate', group: 'team' },
  { id: 'team', group: 'app' },
  { id: 'other', group: 'app' },
  { id: 'pool' },
  { id: 'client' },
].map((client) => ({ ...client, token: `sy-scopes-token-of-${client.id}` }))
type Client = (typeof CLIENTS)[number] & { readonly group?: string }

/** Who may have the same answer, by the scope of the route. */
const SCOPES = {
  client: ({ id }: Client) => id,
  group: ({ id, group }: Client) => (group === undefined ? `alone ${id}` : `group ${group}`),
} as const

const word = fc.constantFrom(
  'app',
  'mate',
  'team',
  'other',
  'pool',
  'client',
  'group',
  '',
  '\0',
  '"',
)
const headers = fc.dictionary(
  fc.constantFrom(
    ...['accept', 'anthropic-version', 'anthropic-beta', 'x-anthropic-beta', 'x-openrouter-a'],
    ...['x-switchyard-scope', 'x-session-id', 'x-api-key', 'x-client', 'cookie', 'user-agent'],
  ),
  fc.constantFrom('app', 'mate', 'team', 'pool', 'client:app', 'a, b', ''),
  { maxKeys: 2 },
)
const field = fc.constantFrom('user', 'scope', 'client', 'group', 'model', 'stream', 'mod\\u0065l')
/** Text as callers send it: fields that repeat, in escapes, and of any kind. */
const body = fc
  .array(fc.tuple(field, fc.oneof(word, fc.constant(false), fc.constant({ id: 'app' }))), {
    maxLength: 2,
  })
  .map((odd) => {
    const fields = odd.map(([name, value]) => `"${name}":${JSON.stringify(value)}`)
    return `{${[...fields, '"model":"vendor/model"', '"messages":[]'].join(',')}}`
  })
const asked = fc.record({
  who: fc.uniqueArray(fc.constantFrom(...CLIENTS), { minLength: 2, maxLength: 3 }),
  ...{ headers, body },
  path: fc.constantFrom('chat/completions', 'completions', 'responses'),
  isAtOnce: fc.boolean(),
})

it.each(['client', 'group'] as const)(
  'with the scope %s no answer comes to another scope, whatever is sent',
  async (scope) => {
    const world = createFlightWorld(
      { ttl_s: 3600, scope },
      { routes: [{ models: ['*'], cache: { ttl_s: 3600, scope } }] },
      {
        CLIENT_KEYS: JSON.stringify({ groups: [{ id: 'team' }, { id: 'app' }], clients: CLIENTS }),
      },
    )
    // Each upstream call has an answer of its own, which comes a moment later.
    let isOver = false
    const upstream = (async () => {
      for (let answered = 0; !isOver; ) {
        await new Promise((resolve) => setTimeout(resolve, 1))
        const call = world.calls[answered]
        if (call === undefined) continue
        answered += 1
        call.answer(Response.json({ ...WHOLE, id: `answer ${answered}` }))
      }
    })()
    const gotBy = new Map<string, Set<string>>()
    const roles = new Set<string | null>()
    const ask = async (
      client: Client,
      one: {
        readonly body: string
        readonly path: string
        readonly headers: Readonly<Record<string, string>>
      },
    ) => {
      const response = await world.ask({
        ...{ path: one.path, text: one.body },
        headers: { ...one.headers, authorization: `Bearer ${client.token}` },
      })
      roles.add(response.headers.get('x-switchyard-cache'))
      const { id = null }: { id?: string | null } = await response.json()
      if (id === null) return
      gotBy.set(id, (gotBy.get(id) ?? new Set()).add(SCOPES[scope](client)))
    }
    await fc.assert(
      fc.asyncProperty(asked, async ({ who, isAtOnce, ...one }) => {
        if (isAtOnce) await Promise.all(who.map((client) => ask(client, one)))
        else for (const client of who) await ask(client, one)
        for (const scopes of gotBy.values()) expect(scopes.size).toBe(1)
      }),
      { numRuns: 30 },
    )
    isOver = true
    await upstream
    // Answers were shared, or this would show nothing.
    expect([...roles]).toEqual(expect.arrayContaining(['miss', 'hit']))
    expect(world.calls.length).toBeGreaterThan(10)
  },
)
