import { join } from 'node:path'
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
