// Broadcasts between radios at given places, in ns-3: the peer of bench/medium.py.
//
// stdin:  one line "x_m y_m phase_s" per radio
// argv:   period_s seconds payload_bytes
// stdout: one JSON line with broadcasts sent, receptions, and processor seconds of the run alone
//
// 802.11a at 6 Mb/s, 16 dBm, log-distance loss with exponent 3 (46.68 dB at 1 m): what ns-3's own
// helpers give by default. A preamble is found at 4 dB SNR, however weak (the default stops at
// -82 dBm, below which nothing would be heard at all).

#include <ctime>
#include <iostream>
#include <vector>

#include "ns3/core-module.h"
#include "ns3/mobility-module.h"
#include "ns3/network-module.h"
#include "ns3/wifi-module.h"

using namespace ns3;

static unsigned long g_sent = 0;
static unsigned long g_received = 0;
static unsigned long g_onAir = 0;

static bool
Receive(Ptr<NetDevice>, Ptr<const Packet>, uint16_t, const Address&)
{
    ++g_received;
    return true;
}

static void
OnAir(Ptr<const Packet>, double)
{
    ++g_onAir;
}

static void
Broadcast(Ptr<NetDevice> device, uint32_t bytes, Time period)
{
    device->Send(Create<Packet>(bytes), device->GetBroadcast(), 0x88b5);
    ++g_sent;
    Simulator::Schedule(period, &Broadcast, device, bytes, period);
}

int
main(int argc, char* argv[])
{
    if (argc != 4)
    {
        std::cerr << "usage: ns3_broadcast period_s seconds payload_bytes < places\n";
        return 2;
    }
    const Time period = Seconds(std::stod(argv[1]));
    const double seconds = std::stod(argv[2]);
    const uint32_t bytes = std::stoul(argv[3]);

    Ptr<ListPositionAllocator> places = CreateObject<ListPositionAllocator>();
    std::vector<double> phases;
    double x;
    double y;
    double phase;
    while (std::cin >> x >> y >> phase)
    {
        places->Add(Vector(x, y, 0.0));
        phases.push_back(phase);
    }

    NodeContainer nodes;
    nodes.Create(phases.size());
    MobilityHelper mobility;
    mobility.SetPositionAllocator(places);
    mobility.SetMobilityModel("ns3::ConstantPositionMobilityModel");
    mobility.Install(nodes);

    YansWifiChannelHelper channel = YansWifiChannelHelper::Default();
    YansWifiPhyHelper phy;
    phy.SetChannel(channel.Create());
    phy.SetPreambleDetectionModel("ns3::ThresholdPreambleDetectionModel",
                                  "Threshold",
                                  DoubleValue(4.0),
                                  "MinimumRssi",
                                  DoubleValue(-101.0));
    WifiMacHelper mac;
    mac.SetType("ns3::AdhocWifiMac");
    WifiHelper wifi;
    wifi.SetStandard(WIFI_STANDARD_80211a);
    wifi.SetRemoteStationManager("ns3::ConstantRateWifiManager",
                                 "DataMode",
                                 StringValue("OfdmRate6Mbps"),
                                 "NonUnicastMode",
                                 StringValue("OfdmRate6Mbps"));
    NetDeviceContainer devices = wifi.Install(phy, mac, nodes);

    for (uint32_t i = 0; i < devices.GetN(); ++i)
    {
        devices.Get(i)->SetReceiveCallback(MakeCallback(&Receive));
        Ptr<WifiPhy> radio = DynamicCast<WifiNetDevice>(devices.Get(i))->GetPhy();
        radio->TraceConnectWithoutContext("PhyTxBegin", MakeCallback(&OnAir));
        Simulator::ScheduleWithContext(i,
                                       Seconds(phases[i]),
                                       &Broadcast,
                                       devices.Get(i),
                                       bytes,
                                       period);
    }
    Simulator::Stop(Seconds(seconds));
    const std::clock_t begin = std::clock();
    Simulator::Run();
    const double cpu = double(std::clock() - begin) / CLOCKS_PER_SEC;
    std::cout << "{\"sent\": " << g_onAir << ", \"received\": " << g_received
              << ", \"cpu_s\": " << cpu << "}" << std::endl;
    Simulator::Destroy();
    return 0;
}
