import { describe, expect, it } from 'vitest'
import { GATEWAY_ERRORS } from '../../src/gateway/answers/gateway-error.ts'
import { files, firstCells, quoted, rowsOf, source } from './markdown.ts'

describe('the tables of answers', () => {
  it('name every error of the gateway, with its status', () => {
    const told = rowsOf('reason').map(([reason = '', status]) => [quoted(reason)[0], status])
    const errors = Object.entries(GATEWAY_ERRORS).map(([reason, status]) => [reason, `${status}`])
    expect(told.toSorted()).toEqual(errors.toSorted())
  })

  it('name every header that the gateway adds', () => {
    const set = files
      .filter((path) => path === 'src/http/response-headers.ts' || path.startsWith('src/gateway/'))
      .flatMap((path) => source(path).match(/(?:x-switchyard-[a-z]+|x-request-id|server-timing)/g))
      .filter((name) => name !== null)
    // By whom else it may be set, HTTP says.
    expect(firstCells('header').toSorted()).toEqual([...new Set(set), 'age'].toSorted())
  })

  it('of the runbook name only errors of the gateway, with a status that they may have', () => {
    const named = rowsOf('answer').flatMap(([answer = '']) =>
      Array.from(answer.matchAll(/(\d{3}) `(\w+)`/g), ([, status, reason]) => ({ status, reason })),
    )
    const reasons = named.map(({ reason }) => reason)
    for (const reason of ['keys_exhausted', 'no_key_available', 'gateway_misconfigured']) {
      expect(reasons).toContain(reason)
    }
    const statuses = new Map<string, number>(Object.entries(GATEWAY_ERRORS))
    const wrong = named.filter(
      ({ status, reason = '' }) =>
        `${statuses.get(reason)}` !== status && `${status} ${reason}` !== '429 no_key_available',
    )
    expect(wrong).toEqual([])
  })
})
