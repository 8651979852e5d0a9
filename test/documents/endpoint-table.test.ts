import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { policySchema } from '../../src/config/policy.ts'
import { quoted, root, rowsOf } from './markdown.ts'

describe('the table of endpoints', () => {
  interface Route {
    readonly method: string
    readonly path: string
  }

  it('lists the routes of the app, under both prefixes', async () => {
    // By a computed path, since the compiler would check it here without the Worker's types.
    const { createApp }: { createApp: (ports: object) => { readonly routes: readonly Route[] } } =
      await import(join(root, 'src/app.ts'))
    const routes = createApp({}).routes.filter(({ method }) => method !== 'ALL')
    const served = new Set(routes.map(({ method, path }) => `${method} ${path}`))
    const told = rowsOf('method').flatMap(([method, paths = '']) =>
      quoted(paths).flatMap((path) =>
        path.startsWith('/')
          ? [`${method} ${path}`]
          : [`${method} /api/v1/${path}`, `${method} /v1/${path}`],
      ),
    )
    expect(told.toSorted()).toEqual([...served].toSorted())
  })

  it('holds no path that could be opened once more as an extra one', () => {
    const paths = rowsOf('method').flatMap(([, paths = '']) =>
      // The star is where the extra paths themselves are served.
      quoted(paths).filter((path) => !path.startsWith('/') && path !== '*'),
    )
    expect(paths).not.toEqual([])
    for (const path of paths) {
      const extra = path.replace('*', 'x')
      expect(policySchema.safeParse({ extra_paths: [extra] }).success, extra).toBe(false)
    }
  })
})
