"""One network that has every construct of the language beyond threshold, reset and sums, with its unknowns."""

CONSTRUCTS = """
function bump(v : mV, k : 1) = k*exp((v + 60*mV)/(20*mV)) : 1

equations leak:
    I_leak = (E - v)*gain : mV

neuron cell:
    use leak with E = v_rest, gain = 1
    dv/dt = (I_leak + drive + g + y*mV*pull)/tau : mV (unless refractory)
    dg/dt = -g/(5*ms) : mV
    dx/dt = -x/(20*ms) : 1
    drive : mV (input)
    y : 1 (linked)
    flag : boolean
    count : integer
    low_steps : 1
    threshold: v > -50*mV and (flag or not flag)
    reset: v = -66*mV; jump = lift/2; x += 2*jump
    refractory: 2*ms
    event low: v < -60*mV
    on low:
        low_steps += deep
        flag = count > 3
    every 5*ms: count += 1; count %= 7; g += push*bump(v, 1)*int(not_refractory)
    background: v += shake*sin(t/ms)
    initial: v = -65*mV
    method: euler
    v_rest : mV = -65*mV
    tau : ms = 10*ms
    pull : 1 = 0.2
    lift : 1 = 0.5
    deep : 1 = 1
    push : mV = 0.1*mV
    shake : mV = 0.05*mV

neuron slow:
    dx/dt = -x/decay : 1
    initial: x = 3 + i
    method: euler
    decay : ms = 30*ms

synapse stdp:
    dapre/dt = -apre/tau_plus : 1 (event-driven)
    dapost/dt = -apost/(15*ms) : 1 (event-driven)
    w : mV
    w0 : mV = 1*mV
    tau_plus : ms = 20*ms (shared)
    up : 1 = 0.1
    down : 1 = 0.12
    on_pre:
        g_post += w
        apre += up
        w = clip(w + apost*mV, 0*mV, 3*mV)
    on_post:
        apost -= down
        w = clip(w + apre*mV, 0*mV, 3*mV)
        x_pre += 0.01
    on_pre kick at low: x_post += 0.001*up
    initial: w = w0

network:
    dt = 0.1*ms
    source : slow[10]
    cells : cell[10]
    cells -> cells : stdp if i != j delay (0.1 + abs(i - j)*0.3)*ms delay post 0.5*ms
    link cells.y = source.x
"""
