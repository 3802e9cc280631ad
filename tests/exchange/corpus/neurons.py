"""Neurons in Brian2's syntax, each function a small script: its docstring names the constructs, its locals are the namespace."""

import numpy as np
import pytest

b = pytest.importorskip("brian2")

mV, ms, nS, pA, nA, pF, Hz = b.mV, b.ms, b.nS, b.pA, b.nA, b.pF, b.Hz


def lif_exact(rng):
    """LIF, parameter array, automatic method, time refractory, unless refractory"""
    tau = 10 * ms
    cells = b.NeuronGroup(
        8,
        "dv/dt = (I - v)/tau : volt (unless refractory)\nI : volt",
        threshold="v > -50*mV",
        reset="v = -60*mV",
        refractory=2 * ms,
    )
    cells.v = "-60*mV + i*mV"
    cells.I = "-45*mV + 2*i*mV"
    return locals()


def lif_euler_subexpressions(rng):
    """nested subexpressions, shared parameter, constants of the namespace, euler"""
    tau_m, v_rest, R = 12 * ms, -65 * mV, 100 * b.Mohm
    cells = b.NeuronGroup(
        6,
        """dv/dt = (leak + drive)/tau_m : volt
        leak = v_rest - v : volt
        drive = R*I_total : volt
        I_total = I_0 + i*0.02*nA : amp
        I_0 : amp (shared)""",
        threshold="v > -50*mV",
        reset="v = v_rest",
        method="euler",
    )
    cells.v, cells.I_0 = v_rest, 0.2 * nA
    return locals()


def lif_expression_refractory(rng):
    """refractory period as a variable, lastspike, constant flag"""
    cells = b.NeuronGroup(
        6,
        """dv/dt = (30*mV - v)/(8*ms) : volt (unless refractory)
        ref : second (constant)
        age = clip((t - lastspike)/(10*ms), 0, 1) : 1""",
        threshold="v > (10 + 4*(1 - age))*mV",
        reset="v = 0*mV",
        refractory="ref",
        method="euler",
    )
    cells.ref = "(0.5 + 0.35*i)*ms"
    return locals()


def boolean_refractory(rng):
    """refractory condition counts each upstroke once, no reset"""
    cells = b.NeuronGroup(
        5,
        """dv/dt = w*(40*mV*cos(w*t + i) - 0.2*v) : volt
        w : Hz""",
        threshold="v > 20*mV",
        refractory="v > -10*mV",
        method="euler",
    )
    cells.w = "(300 + 40*i)*Hz"
    return locals()


def adaptive_threshold(rng):
    """moving threshold state, multi-statement reset with semicolons"""
    cells = b.NeuronGroup(
        6,
        """dv/dt = (25*mV + i*3*mV - v)/(10*ms) : volt
        dvt/dt = (10*mV - vt)/(15*ms) : volt""",
        threshold="v > vt",
        reset="v = 0*mV; vt += 3*mV",
        method="exact",
    )
    cells.vt = 10 * mV
    return locals()


def adex(rng):
    """AdEx with exp, euler, amp and siemens"""
    C, gL, EL, VT, DeltaT = 281 * pF, 30 * nS, -70.6 * mV, -50.4 * mV, 2 * mV
    tauw, a, b_w, Vr = 144 * ms, 4 * nS, 0.0805 * nA, -70.6 * mV
    Vcut = VT + 5 * DeltaT
    cells = b.NeuronGroup(
        5,
        """dvm/dt = (gL*(EL - vm) + gL*DeltaT*exp((vm - VT)/DeltaT) + I - w)/C : volt
        dw/dt = (a*(vm - EL) - w)/tauw : amp
        I : amp""",
        threshold="vm > Vcut",
        reset="vm = Vr; w += b_w",
        method="euler",
    )
    cells.vm, cells.I = EL, np.linspace(1, 2.2, 5) * nA
    return locals()


def exponential_if(rng):
    """EIF, rk2"""
    cells = b.NeuronGroup(
        5,
        "dv/dt = (-65*mV - v + 3*mV*exp((v + 55*mV)/(3*mV)) + I)/(10*ms) : volt\nI : volt (constant)",
        threshold="v > -30*mV",
        reset="v = -68*mV",
        method="rk2",
    )
    cells.v, cells.I = -65 * mV, np.linspace(12, 30, 5) * mV
    return locals()


def quadratic_if(rng):
    """QIF, dimensionless, rk4"""
    cells = b.NeuronGroup(
        5,
        "dx/dt = (x**2 + eta)/(10*ms) : 1\neta : 1",
        threshold="x > 10",
        reset="x = -10",
        method="rk4",
    )
    cells.eta = "2 + i"
    return locals()


def izhikevich(rng):
    """Izhikevich neurons with four parameter arrays, dt 0.5 ms"""
    n = 8
    cells = b.NeuronGroup(
        n,
        """dv/dt = (0.04*v**2 + 5*v + 140 - u + I)/ms : 1
        du/dt = a*(b_u*v - u)/ms : 1
        a : 1
        b_u : 1
        c : 1
        d : 1
        I : 1""",
        threshold="v >= 30",
        reset="v = c\nu += d",
        method="euler",
        dt=0.5 * ms,
    )
    r = rng.random(n)
    cells.a, cells.b_u = 0.02 + 0.08 * r, 0.25 - 0.05 * r
    cells.c, cells.d, cells.I = -65 + 15 * r**2, 8 - 6 * r**2, 8 + 8 * r
    cells.v, cells.u = -65, -13
    return locals()


def izhikevich_units(rng):
    """Izhikevich with dimensional power v**2/mV, reset with a parameter"""
    cells = b.NeuronGroup(
        4,
        """dv/dt = (0.04/ms/mV)*v**2 + (5/ms)*v + 140*mV/ms - u + I : volt
        du/dt = (0.02/ms)*((0.2/ms)*v - u) : volt/second
        I : volt/second""",
        threshold="v >= 30*mV",
        reset="v = -65*mV; u = u + 2*mV/ms",
        method="euler",
    )
    cells.v, cells.u, cells.I = -65 * mV, -13 * mV / ms, np.linspace(8, 20, 4) * mV / ms
    return locals()


def hodgkin_huxley(rng):
    """Traub-Miles HH with exprel, exponential_euler, boolean refractory"""
    area = 20000 * b.umetre**2
    Cm, gl = 1 * b.ufarad * b.cm**-2 * area, 5e-5 * b.siemens * b.cm**-2 * area
    El, EK, ENa, VT = -65 * mV, -90 * mV, 50 * mV, -63 * mV
    g_na, g_kd = 100 * b.msiemens * b.cm**-2 * area, 30 * b.msiemens * b.cm**-2 * area
    cells = b.NeuronGroup(
        4,
        """dv/dt = (gl*(El - v) - g_na*(m*m*m)*h*(v - ENa) - g_kd*(n*n*n*n)*(v - EK) + I)/Cm : volt
        dm/dt = alpha_m*(1 - m) - beta_m*m : 1
        dn/dt = alpha_n*(1 - n) - beta_n*n : 1
        dh/dt = alpha_h*(1 - h) - beta_h*h : 1
        alpha_m = 0.32*(mV**-1)*4*mV/exprel((13*mV - v + VT)/(4*mV))/ms : Hz
        beta_m = 0.28*(mV**-1)*5*mV/exprel((v - VT - 40*mV)/(5*mV))/ms : Hz
        alpha_h = 0.128*exp((17*mV - v + VT)/(18*mV))/ms : Hz
        beta_h = 4./(1 + exp((40*mV - v + VT)/(5*mV)))/ms : Hz
        alpha_n = 0.032*(mV**-1)*5*mV/exprel((15*mV - v + VT)/(5*mV))/ms : Hz
        beta_n = .5*exp((10*mV - v + VT)/(40*mV))/ms : Hz
        I : amp""",
        threshold="v > -20*mV",
        refractory="v > -20*mV",
        method="exponential_euler",
        dt=0.05 * ms,
    )
    cells.v, cells.I = El, np.linspace(0.3, 0.8, 4) * nA
    return locals()


def hodgkin_huxley_rk4(rng):
    """HH per area, siemens/meter**2, rk4"""
    cells = b.NeuronGroup(
        6,
        """dv/dt = (I - gK*n**4*(v + 77*mV) - gNa*m**3*h*(v - 50*mV) - gL*(v + 54.4*mV))/(1*uF/cm**2) : volt
        dm/dt = 0.1/mV*10*mV/exprel(-(v + 40*mV)/(10*mV))/ms*(1 - m) - 4*exp(-(v + 65*mV)/(18*mV))/ms*m : 1
        dh/dt = 0.07*exp(-(v + 65*mV)/(20*mV))/ms*(1 - h) - 1/(exp(-(v + 35*mV)/(10*mV)) + 1)/ms*h : 1
        dn/dt = 0.1/exprel(-(v + 55*mV)/(10*mV))/ms*(1 - n) - 0.125*exp(-(v + 65*mV)/(80*mV))/ms*n : 1
        gNa : siemens/meter**2
        gK : siemens/meter**2
        gL : siemens/meter**2 (shared)
        I : amp/meter**2""",
        threshold="v > 0*mV",
        refractory="v > -20*mV",
        method="rk4",
        dt=0.02 * ms,
    )
    cells.v, cells.m, cells.h, cells.n = -65 * mV, 0.0529, 0.596, 0.3177
    cells.gNa, cells.gK, cells.gL = (
        1200 * b.siemens / b.metre**2,
        360 * b.siemens / b.metre**2,
        3 * b.siemens / b.metre**2,
    )
    duration = 0.05
    cells.I = np.linspace(0.4, 0.8, 6) * b.amp / b.metre**2
    return locals()


def morris_lecar(rng):
    """Morris-Lecar with tanh and cosh, boolean refractory, rk2"""
    cells = b.NeuronGroup(
        4,
        """dv/dt = (-gL*(v + 60*mV) - gCa*m_inf*(v - 120*mV) - gK*w*(v + 84*mV) + I)/(2*pF) : volt
        dw/dt = 0.23*(w_inf - w)*cosh((v - 12*mV)/(34.8*mV))/ms : 1
        m_inf = 0.5*(1 + tanh((v + 1.2*mV)/(18*mV))) : 1
        w_inf = 0.5*(1 + tanh((v - 12*mV)/(17.4*mV))) : 1
        I : amp""",
        threshold="v > 0*mV",
        refractory="v > -10*mV",
        method="rk2",
        namespace={"gL": 2 * nS, "gCa": 4 * nS, "gK": 8 * nS},
    )
    cells.v, cells.I = -40 * mV, np.array([45, 55, 70, 90]) * pA
    return locals()


def fitzhugh_nagumo(rng):
    """FitzHugh-Nagumo, states only, no threshold"""
    cells = b.NeuronGroup(
        6,
        """dx/dt = (x - x**3/3 - y + I)/(2*ms) : 1
        dy/dt = 0.08*(x + 0.7 - 0.8*y)/(2*ms) : 1
        I : 1""",
        method="rk4",
    )
    cells.x, cells.I = "-1 + 0.3*i", "0.1*i"
    return locals()


def resonate_and_fire(rng):
    """damped oscillation coupled both ways, euler"""
    w = 2 * np.pi * 60 * Hz
    cells = b.NeuronGroup(
        6,
        """dx/dt = -x/(20*ms) - w*y + gain : Hz
        dy/dt = -y/(20*ms) + w*x/Hz*Hz + 0*Hz**2 : Hz
        gain : Hz**2""",
        threshold="y > 20*Hz",
        reset="x = 0*Hz; y = 0*Hz",
        method="euler",
    )
    cells.gain = "(12000 + 900*i)*Hz**2"
    return locals()


def mihalas_niebur(rng):
    """generalised LIF with two spike-triggered currents, exact"""
    cells = b.NeuronGroup(
        5,
        """dv/dt = (I_0 + I_1 + I_2 - 0.05*(v + 70*mV)/mV)*mV/ms : volt
        dI_1/dt = -I_1/(5*ms) : 1
        dI_2/dt = -I_2/(50*ms) : 1
        dtheta/dt = (-50*mV - theta)/(100*ms) : volt
        I_0 : 1""",
        threshold="v > theta",
        reset="""I_1 = 0.6*I_1 + 1.2
        I_2 -= 0.1
        v = -70*mV
        theta += 1*mV""",
        method="exact",
    )
    cells.v, cells.theta, cells.I_0 = -70 * mV, -50 * mV, "1.2 + 0.2*i"
    return locals()


def augmented_assignments(rng):
    """reset with *=, /=, -=, temporaries"""
    cells = b.NeuronGroup(
        5,
        """dv/dt = (1.5 - v)/(5*ms) : 1
        dw/dt = (1 - w)/(30*ms) : 1
        n : 1""",
        threshold="v > 1",
        reset="""excess = v - 1
        v *= 0.2
        v -= 0.1*excess
        w /= 1.5
        n += w""",
        method="euler",
    )
    cells.v, cells.w = "0.1*i", 1
    return locals()


def random_like_functions(rng):
    """sin, cos, arctan, sqrt, log, log10, expm1, log1p, sinh, floor, ceil, sign, abs, clip, int"""
    cells = b.NeuronGroup(
        5,
        """dv/dt = (drive - v)/(5*ms) : 1
        drive = 1.4 + 0.4*sin(2*pi*60*Hz*t + i) + 0.1*sign(cos(2*pi*17*Hz*t)) + bump : 1
        bump = 0.2*clip(log1p(abs(v)) + arctan(v), 0, 1) + 0.05*floor(10*sqrt(x)) - 0.02*ceil(x) + 0.01*more : 1
        more = log(x + 1) + log10(x + 1) + expm1(0.1*x) + sinh(0.1*x) + tan(0.1*x) + int(v > 0.5)*cosh(0.2) : 1
        x = t/(50*ms) : 1""",
        threshold="v > 1",
        reset="v = 0",
        method="euler",
    )
    return locals()


def floor_division_and_modulo(rng):
    """//, %, ** in expressions, integer parameter"""
    cells = b.NeuronGroup(
        6,
        """dv/dt = (1.3 + 0.2*((i + shift) % 3) + 0.1*(i // 2) - v)/(4*ms) : 1
        shift : integer""",
        threshold="v > 1",
        reset="v = -(i % 2)*0.5**2",
        method="euler",
    )
    cells.shift = 1
    return locals()


def conditional_currents(rng):
    """int(condition), and, or, not, comparison operators"""
    cells = b.NeuronGroup(
        6,
        """dv/dt = (int(on)*22*mV + int(not on)*5*mV - v)/(6*ms) : volt
        on = (t > 10.05*ms and t <= 60.05*ms) or (i >= 3 and not (t < 30.05*ms)) : boolean""",
        threshold="v > 15*mV",
        reset="v = 0*mV",
        method="euler",
    )
    return locals()


def boolean_parameter(rng):
    """boolean parameter in an equation and in the threshold"""
    cells = b.NeuronGroup(
        6,
        """dv/dt = (int(excited)*5 + 18 - v/mV)*mV/(6*ms) : volt
        excited : boolean""",
        threshold="v > 15*mV and (excited or v > 16*mV)",
        reset="v = 0*mV",
        method="euler",
    )
    cells.excited = "i % 2 == 0"
    return locals()


def exact_alpha_current(rng):
    """alpha-shaped current, chain of linear equations, exact, constant over dt"""
    cells = b.NeuronGroup(
        5,
        """dv/dt = (g - v)/(10*ms) : 1
        dg/dt = (h - g)/(5*ms) : 1
        dh/dt = -h/(5*ms) + kick : 1
        kick = (1.2 + 0.1*i)/ms*int(sin(2*pi*40*Hz*t) > 0) : Hz (constant over dt)""",
        threshold="v > 1",
        reset="v = 0",
        method="exact",
    )
    return locals()


def heun_without_noise_states(rng):
    """heun on nonlinear equations"""
    cells = b.NeuronGroup(
        5,
        "dx/dt = (1.2 + 0.1*i - x**2)*x/(10*ms) + 0.15/ms : 1",
        threshold="x > 1.2",
        reset="x = 0.1",
        method="heun",
    )
    cells.x = 0.1
    return locals()


def milstein_without_noise(rng):
    """milstein on equations without noise"""
    cells = b.NeuronGroup(
        5,
        "dx/dt = (1.5 + 0.2*i - x)/(10*ms) : 1",
        threshold="x > 1",
        reset="x = 0",
        method="milstein",
    )
    return locals()


def automatic_euler(rng):
    """automatic choice: Brian2 falls back to euler on dv/dt = c"""
    cells = b.NeuronGroup(5, "dv/dt = (1 + 0.2*i)/(7*ms) : 1", threshold="v > 1", reset="v -= 1")
    return locals()


def not_refractory_in_equations(rng):
    """not_refractory as a name, refractory without (unless refractory)"""
    cells = b.NeuronGroup(
        5,
        "dv/dt = (1.6 + 0.1*i - v)/(4*ms)*int(not_refractory) - v/(50*ms) : 1",
        threshold="v > 1",
        reset="v = 0.3",
        refractory=3 * ms,
        method="euler",
    )
    return locals()


def names_of_the_language(rng):
    """variables called margin, observed, step, delay, min, where names of eqsnn would clash"""
    cells = b.NeuronGroup(
        4,
        """dmargin/dt = (observed - margin)/delay : 1
        observed : 1
        delay : second
        step = 1.0*delay/ms : 1
        min = step*2 : 1""",
        threshold="margin > 1",
        reset="margin = 0*min",
        method="euler",
    )
    cells.observed, cells.delay = "1.2 + 0.2*i", 4 * ms
    return locals()


def reserved_units_as_names(rng):
    """variables g, s, h, A, M beside units of similar names"""
    cells = b.NeuronGroup(
        4,
        """dg/dt = (h*A - g)/(5*ms) : siemens
        ds/dt = (g/nS - s)/(3*ms) : 1
        h : siemens
        A : 1""",
        threshold="s > 1",
        reset="s = 0\ng *= 0.9",
        method="exact",
    )
    cells.h, cells.A = 1 * nS, "1.3 + 0.2*i"
    return locals()


def long_units(rng):
    """long unit names and derived units: msecond, mvolt, namp, ohm, coulomb"""
    cells = b.NeuronGroup(
        4,
        """dq/dt = I - q/(200*pfarad*50*Mohm) : coulomb
        v = q/(200*pfarad) : volt
        I = (0.4 + 0.1*i)*namp : amp""",
        threshold="v > 15*mvolt",
        reset="q = 0*pcoulomb",
        method="euler",
    )
    return locals()


def timestep_function(rng):
    """timestep(), t_in_timesteps"""
    cells = b.NeuronGroup(
        4,
        "dv/dt = (1.5 + 0.5*int(timestep(t, dt) % 200 < 100) + 0.001*(t_in_timesteps % 10) - v)/(6*ms) : 1",
        threshold="v > 1",
        reset="v = 0",
        method="euler",
    )
    return locals()


TEXTS = (
    lif_exact, lif_euler_subexpressions, lif_expression_refractory, boolean_refractory, adaptive_threshold, adex,
    exponential_if, quadratic_if, izhikevich, izhikevich_units, hodgkin_huxley, hodgkin_huxley_rk4, morris_lecar,
    fitzhugh_nagumo, resonate_and_fire, mihalas_niebur, augmented_assignments, random_like_functions,
    floor_division_and_modulo, conditional_currents, boolean_parameter, exact_alpha_current, heun_without_noise_states,
    milstein_without_noise, automatic_euler, not_refractory_in_equations, names_of_the_language,
    reserved_units_as_names, long_units, timestep_function,
)  # fmt: skip
