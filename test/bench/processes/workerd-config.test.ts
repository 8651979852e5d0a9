import { describe, expect, it } from 'vitest'
import { workerdConfigText } from './workerd-config.ts'

describe('the configuration of workerd', () => {
  const worker = {
    name: 'main',
    modulePath: 'main.js',
    compatibilityDate: '2026-01-01',
    compatibilityFlags: ['a_flag'],
  }

  it('holds texts with quotes, backslashes and line breaks as they are', () => {
    const bindings = { POLICY: { kind: 'json', value: { text: 'a "b" \\ \n' } } } as const
    const text = workerdConfigText({
      workers: [{ ...worker, bindings }],
      sockets: [],
      storagePath: '/tmp/x',
    })
    expect(text).toContain(String.raw`json = "{\"text\":\"a \\\"b\\\" \\\\ \\n\"}"`)
  })

  it('gives each Durable Object class a database, once', () => {
    const objects = { kind: 'objects', className: 'KeyPool' } as const
    const text = workerdConfigText({
      workers: [{ ...worker, bindings: { A: objects, B: objects } }],
      sockets: [],
      storagePath: '/tmp/x',
    })
    expect(text.match(/enableSql = true/g)).toHaveLength(1)
  })

  it('sends a socket to the entrypoint that it names', () => {
    const sockets = [
      { name: 'http', service: 'main' },
      { name: 'counts', service: 'main', entrypoint: 'counts' },
    ]
    const text = workerdConfigText({ workers: [], sockets, storagePath: '/tmp/x' })
    expect(text).toContain('service = (name = "main"))')
    expect(text).toContain('service = (name = "main", entrypoint = "counts"))')
  })
})
