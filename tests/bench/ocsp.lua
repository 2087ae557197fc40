-- wrk's script: OCSP requests in turns from a file of equally long ones, or of lines.
--   wrk ... -s ocsp.lua URL -- post FILE LENGTH | nonce FILE LENGTH | get FILE
-- nonce: the last 16 bytes of each request are its nonce; they are counted up, so that no answer can have been made before.
local threads = {}
local how, requests, at, count = nil, {}, 0, 0
local headers = { ["Content-Type"] = "application/ocsp-request" }

bad = 0

function setup(thread) threads[#threads + 1] = thread end

function init(args)
    how = args[1]
    local f = assert(io.open(args[2], "rb"))
    if how == "get" then
        for line in f:lines() do requests[#requests + 1] = line end
    else
        local whole, n = f:read("*a"), tonumber(args[3])
        for i = 1, #whole, n do requests[#requests + 1] = whole:sub(i, i + n - 1) end
    end
    f:close()
    math.randomseed(os.time())
    count = math.random(1, 1000000000)
end

function request()
    at = at % #requests + 1
    if how == "get" then return wrk.format("GET", "/ocsp/" .. requests[at]) end
    local body = requests[at]
    if how == "nonce" then
        count = count + 1
        body = body:sub(1, -17) .. string.format("%016d", count)
    end
    return wrk.format("POST", "/ocsp", headers, body)
end

-- An OCSP error is a short answer with status 200.
function response(status, _, body)
    if status ~= 200 or #body < 200 then bad = bad + 1 end
end

-- One line for the bench: answers, and those that were none.
function done(summary, latency)
    local e, errors = summary.errors, 0
    for _, thread in ipairs(threads) do errors = errors + thread:get("bad") end
    io.write(string.format("answers=%d errors=%d p99_us=%d\n", summary.requests,
        errors + e.read + e.write + e.timeout + e.connect, latency:percentile(99)))
end
