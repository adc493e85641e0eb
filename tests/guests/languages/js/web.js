// Answers with the interface that browsers and servers have for it: `fetch` events.

async function answer(request) {
  const { pathname, searchParams } = new URL(request.url);
  switch (pathname) {
    case "/hello":
      return new Response("Hello, world!\n", { headers: { "content-type": "text/plain" } });
    case "/echo":
      return new Response(await request.text(), { headers: { "x-method": request.method } });
    case "/stream":
      return new Response(request.body);
    case "/events":
      return new Response(events(Number(searchParams.get("count"))), {
        headers: { "content-type": "text/event-stream" },
      });
    case "/relay":
      return relay(request);
    case "/failed":
      return new Response(await failure());
    case "/all":
      return new Response((await all(searchParams.get("paths").split(","))).join("\n"));
    default:
      return new Response(`${request.method} ${pathname}\n`, { status: 404 });
  }
}

// Passes a request on, and the answer back, both while they come.
async function relay(request) {
  const options = { method: "POST", body: request.body, duplex: "half" };
  const response = await fetch("http://upstream.test/relay", options);
  return new Response(response.body, { status: response.status, headers: response.headers });
}

// Says how a request to a host fails that nobody granted.
async function failure() {
  try {
    await fetch("http://denied.test/");
    return "not at all";
  } catch (error) {
    return error.name;
  }
}

// Asks another server for several things at once.
function all(paths) {
  return Promise.all(
    paths.map(async (path) => {
      const options = { method: "POST", body: path };
      const response = await fetch(`http://upstream.test/${path}`, options);
      return `${response.status} ${await response.text()}`;
    }),
  );
}

function events(count) {
  const encoder = new TextEncoder();
  return new ReadableStream({
    async start(controller) {
      for (let number = 0; number < count; number++) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        controller.enqueue(encoder.encode(`data: ${number}\n\n`));
      }
      controller.close();
    },
  });
}

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));
