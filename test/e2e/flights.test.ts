import { expect, test } from 'vitest'
import { startGateway, useSimulator } from './harness.ts'

const upstream = useSimulator()

test('smoke', async () => {
  const gateway = await startGateway(upstream, {
    policy: { strategy: 'priority', routes: [{ models: ['openai/*'], cache: { ttl_s: 60 } }] },
  })
  const one = await gateway.chat({})
  const text = await one.text()
  console.log(one.status, [...one.headers].join('\n'), text.slice(0, 300))
  const two = await gateway.chat({})
  console.log(two.status, [...two.headers].join('\n'), (await two.text()) === text)
  const three = await gateway.chat({ stream: true })
  const t3 = await three.text()
  console.log(three.status, [...three.headers].join('\n'), t3.slice(0, 200))
  const four = await gateway.chat({ stream: true })
  console.log(four.status, [...four.headers].join('\n'), (await four.text()) === t3)
  const five = await gateway.chat({ stream: true }, { 'x-switchyard-durable': '60' })
  console.log(five.status, [...five.headers].join('\n'), (await five.text()).slice(0, 600))
  const six = await gateway.send(`/v1/switchyard/answers/${five.headers.get('x-request-id')}`, { headers: { 'last-event-id': `${five.headers.get('x-request-id')}.3` } })
  console.log(six.status, (await six.text()))
  console.log(gateway.logs().map((l) => l.text).join('\n'))
  expect(1).toBe(2)
})
