import { join } from 'node:path'
import { Validator } from '@seriousme/openapi-schema-validator'
import { OpenAPIClientAxios } from 'openapi-client-axios'
import { expect, it } from 'vitest'
import { root } from './markdown.ts'
import { OPERATIONS, openApi } from './openapi.ts'

const FILE = join(root, 'docs/openapi.json')

/** What the operators' page about the API reads: the Worker serves no other folder. */
const ASSET = join(root, 'src/admin/assets/openapi.json')

it('docs/openapi.json is what the code says; after a change: npm run openapi', async () => {
  await expect(`${JSON.stringify(openApi(), null, 2)}\n`).toMatchFileSnapshot(FILE)
  await expect(`${JSON.stringify(openApi())}\n`).toMatchFileSnapshot(ASSET)
})

it('it holds every route of the admin API, and no other', async () => {
  // By a computed path, since the compiler would check it here without the Worker's types.
  const { createApp }: { createApp: (ports: object) => { readonly routes: readonly Route[] } } =
    await import(join(root, 'src/app.ts'))
  const served = createApp({})
    .routes.filter(({ method, path }) => method !== 'ALL' && path.startsWith('/admin/api/'))
    .map(({ method, path }) => `${method} ${path}`)
  expect(Object.keys(OPERATIONS).toSorted()).toEqual(served.toSorted())
})

it('it is valid, and a client that is generated from it lists keys', async () => {
  const document = JSON.parse(JSON.stringify(openApi()))
  expect(await new Validator().validate(document)).toEqual({ valid: true })
  const asked: { readonly url: string; readonly authorization: unknown }[] = []
  const api = new OpenAPIClientAxios({
    definition: document,
    withServer: { url: 'https://gateway.test' },
    axiosConfigDefaults: {
      headers: { authorization: 'Bearer admin-token' },
      adapter: async (config) => {
        const url = `${config.baseURL}${config.url}`
        asked.push({ url, authorization: config.headers.authorization })
        const data = { keys: [{ id: 'alpha', reason: 'paused' }] }
        return { data, status: 200, statusText: 'OK', headers: {}, config }
      },
    },
  })
  const client = await api.init()
  const ids = api.getOperations().map(({ operationId }) => operationId)
  expect(new Set(ids).size).toBe(ids.length)
  expect(ids).toContain('postKeysPause')
  const listed = await client.getPool?.()
  expect(listed?.data.keys).toEqual([{ id: 'alpha', reason: 'paused' }])
  await client.postKeysPause?.({ id: 'alpha' })
  expect(asked).toEqual([
    { url: 'https://gateway.test/admin/api/pool', authorization: 'Bearer admin-token' },
    { url: 'https://gateway.test/admin/api/keys/alpha/pause', authorization: 'Bearer admin-token' },
  ])
})

it('it refers only to what is in it', () => {
  const document = openApi()
  const text = JSON.stringify(document)
  const refs = Array.from(text.matchAll(/"\$ref":"#\/([^"]+)"/g), ([, path = '']) => path)
  expect(refs.length).toBeGreaterThan(20)
  for (const path of new Set(refs)) {
    const found = path
      .split('/')
      .reduce<unknown>((at, name) => (at as Record<string, unknown> | undefined)?.[name], document)
    expect(found, path).toBeTypeOf('object')
  }
})

it('it says what a body may hold: bounds, defaults, a budget or a list of them, and null in a change', () => {
  const { components } = JSON.parse(JSON.stringify(openApi()))
  const { NewBudget, NewClient, ClientChanges, Rotation } = components.schemas
  expect(NewClient).toMatchObject({ required: ['id'], additionalProperties: false })
  expect(NewClient.properties.rpm).toMatchObject({ type: 'integer', minimum: 1, maximum: 1e6 })
  expect(Object.keys(NewClient.properties.budget)).toEqual(['anyOf'])
  const [one, list] = NewClient.properties.budget.anyOf
  expect(one).toEqual({ $ref: '#/components/schemas/NewBudget' })
  expect(list).toMatchObject({ type: 'array', items: one, maxItems: 4 })
  expect(NewBudget).toMatchObject({ type: 'object', required: ['usd', 'period'] })
  expect(NewClient.properties.expires_at.type).toBe('string')
  expect(ClientChanges.required).toBeUndefined()
  expect(ClientChanges.properties.rpm.anyOf).toContainEqual({ type: 'null' })
  expect(Rotation.properties.grace_s.default).toBe(86_400)
})

interface Route {
  readonly method: string
  readonly path: string
}
